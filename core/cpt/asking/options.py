"""How responders are asked: the options that all of them share."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Final

import attrs
from attrs.validators import deep_iterable, ge, gt, optional

from cpt.roles import PATH
from cpt.types.outcome import NOT_ANSWERED

SHORT: Final = {"short": True}
"""Metadata of a field whose flag may be given without `asking.` too."""
FINAL: Final = tuple(outcome.value for outcome in NOT_ANSWERED)
IN_BATCHES = 10_000
"""Prompts under way where they are asked in batches."""


def _final(_: object, __: object, word: str) -> None:
    if word not in FINAL:
        near = get_close_matches(word, FINAL, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(FINAL)}"
        raise ValueError(f"{word!r} is no outcome that is kept without a whole answer; {hint}")


@attrs.frozen(kw_only=True)
class Asking:
    """How responders are asked: the options that all of them share."""

    at_once: int = attrs.field(default=256, validator=ge(1))
    """Most prompts under way; each service's own `concurrency` bounds what it is sent."""
    budget: float | None = attrs.field(default=None, validator=optional(gt(0.0)), metadata=SHORT)
    """Most US dollars that this run folder may cost; asking stops before it is passed."""
    prices: str | None = attrs.field(default=None, metadata=SHORT | PATH)
    """A price table of yours (YAML), whose models come before the built-in ones."""
    batch: bool = attrs.field(default=False, metadata=SHORT)
    """Use the provider's batch endpoint, where it has one: cheaper, and done within a day."""
    patience: float = attrs.field(default=120.0, validator=gt(0.0))
    """Seconds for which a service that worked may answer nothing, until the run stops."""
    stop_after_rejected: int = attrs.field(default=8, validator=ge(0))
    """Stop if so many first requests are all rejected with one message; 0 never stops."""
    again: tuple[str, ...] = attrs.field(default=(), validator=deep_iterable(_final))
    """Ask again, this once, what ended so: `rejected`, `filtered`, ...; repeat the flag."""

    @property
    def under_way(self) -> int:
        """Most prompts under way: what waits for a batch costs little, and all of it goes out."""
        return max(self.at_once, IN_BATCHES) if self.batch else self.at_once
