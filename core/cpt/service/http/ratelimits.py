"""What a service's headers say about its limits."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import datetime

import attrs

from cpt.service.http.clock import now_of

PREFIXES = ("x-ratelimit-{what}-{kind}", "anthropic-ratelimit-{kind}-{what}")
"""How OpenAI (and those compatible with it) and Anthropic name them."""
KINDS = ("requests", "tokens")
NEARLY_USED = 0.1
"""A limit of which less than this part is left sets the pace."""
LATEST = 31 * 86400.0
"""Seconds until a reset that sets the pace; a later one says nothing that can be meant."""
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([\d.]+)(ms|s|m|h|d)")


@attrs.frozen
class Refill:
    """How fast a limit refills that is nearly used up; None for one that is not."""

    requests: float | None = None
    """Requests a second."""
    tokens: float | None = None
    """Tokens a second."""


Listener = Callable[[Refill], None]
_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)


def listen(listener: Listener) -> None:
    """Have this called in this task with what `report_limits` finds."""
    _listener.set(listener)


def report_limits(headers: Mapping[str, str]) -> None:
    """Pass on the headers of a response: what they say of limits sets the pace.

    Call it in `answer`, whatever the status was.
    """
    if (listener := _listener.get()) and (refill := refills(headers)):
        listener(refill)


def refills(headers: Mapping[str, str], now: float | None = None) -> Refill | None:
    """What the headers say, None if nothing.

    `now` is in seconds since 1970; the service's own date, if it sends one, when it is not given.
    """
    when = now_of(headers) if now is None else now
    for prefix in PREFIXES:
        names = [prefix.format(what="limit", kind=kind) for kind in KINDS]
        if any(name in headers for name in names):
            return Refill(*(_refill(headers, prefix, kind, when) for kind in KINDS))
    return None


def _refill(headers: Mapping[str, str], prefix: str, kind: str, now: float) -> float | None:
    try:
        limit, left = (
            float(headers[prefix.format(what=what, kind=kind)]) for what in ("limit", "remaining")
        )
        if left >= NEARLY_USED * limit:
            return None
        seconds = _seconds(headers[prefix.format(what="reset", kind=kind)], now)
    except (KeyError, ValueError, OverflowError, OSError):
        return None
    # All of it is back at the reset, so what is used comes back at this rate.
    rate = (limit - left) / seconds if 0 < seconds <= LATEST else 0.0
    return rate if 0 < rate < math.inf else None


def _seconds(reset: str, now: float) -> float:
    """`6m0s`, `20ms`, `1.5`, or a point in time."""
    parts = _PART.findall(reset)
    if parts and "".join(f"{number}{unit}" for number, unit in parts) == reset:
        return sum(float(number) * UNITS[unit] for number, unit in parts)
    try:
        return float(reset)
    except ValueError:
        return datetime.fromisoformat(reset.replace("Z", "+00:00")).timestamp() - now
