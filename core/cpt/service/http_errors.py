"""What an HTTP error means for the request, and for all others."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from cpt.errors import AskError, Denied, Overloaded, Rejected, Unreachable

DENIED = frozenset({401, 402, 403, 404, 405})
"""Key, payment, permission, model or address: no request can succeed. A redirect (3xx) is the same:
the address is wrong."""
OVERLOADED = frozenset({429, 503, 529})
LATER = frozenset({408, 409, 425})
"""Client errors that pass."""
NO_MONEY = ("insufficient_quota", "credit balance")
"""How providers report an empty account under a status that means something else."""


def http_error(status: int, headers: Mapping[str, str], body: Any, secret: str = "") -> AskError:
    """The error to raise for an HTTP `status` of 300 or more, its message in one line.

    `secret` is the key that was sent: some endpoints repeat it, the message will not.
    """
    text = f"HTTP {status}: {_message(body)}" if body else f"HTTP {status}"
    text = text.replace(secret, "***") if secret else text
    if (
        status < 400
        or status in DENIED
        or (status < 500 and any(word in str(body) for word in NO_MONEY))
    ):
        return Denied(text)
    if status in OVERLOADED:
        return Overloaded(text, retry_after(headers))
    if status in LATER or status >= 500:
        return Unreachable(text)
    return Rejected(text)


def _message(body: Any, most: int = 300) -> str:
    """What a provider says in the body of an error: its `message`, wherever that is."""
    inner = body.get("error", body) if isinstance(body, Mapping) else body
    found = inner.get("message", inner) if isinstance(inner, Mapping) else inner
    text = found if isinstance(found, str) else json.dumps(found, default=str)
    # Without control characters, and half characters, which no file can hold.
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * most])
    return " ".join(shown.split())[:most]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait: a number, or the time until an HTTP date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        return max(0.0, seconds) if math.isfinite(seconds) else None
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, TypeError, ValueError):
        return None
