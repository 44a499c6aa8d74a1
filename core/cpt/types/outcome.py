"""How a request to a responder ended."""

from __future__ import annotations

from difflib import get_close_matches
from enum import StrEnum

from cpt.errors import WrongReturn


class Outcome(StrEnum):
    """How a request ended. A member equals its word: `Outcome.CUT_OFF == "cut_off"`."""

    ANSWERED = "answered"
    """There is a text."""
    CUT_OFF = "cut_off"
    """There is a text, ended by a limit of length."""
    REFUSED = "refused"
    """The model would not answer."""
    FILTERED = "filtered"
    """A filter of the service stopped the answer."""
    EMPTY = "empty"
    """The text is empty."""
    REJECTED = "rejected"
    """This request can never be answered (too long, not allowed, not on file)."""
    FAILED = "failed"
    """All attempts ended in an error that may pass."""
    MALFORMED = "malformed"
    """All attempts returned something that is not an answer."""
    OVER_BUDGET = "over_budget"
    """It was not sent, as it might have cost more than the budget has left."""

    @property
    def has_text(self) -> bool:
        """Whether the text may be used."""
        return self in (Outcome.ANSWERED, Outcome.CUT_OFF)

    @property
    def is_final(self) -> bool:
        """Whether it is kept for ever: the next run does not ask again."""
        return self not in (Outcome.FAILED, Outcome.MALFORMED, Outcome.OVER_BUDGET)


NOT_ANSWERED = tuple(
    outcome for outcome in Outcome if outcome.is_final and outcome is not Outcome.ANSWERED
)
"""Outcomes without a whole answer that are kept."""


def outcome_of(word: str) -> Outcome:
    """The outcome that a word names. Raises `WrongReturn`."""
    try:
        return Outcome(word)
    except ValueError:
        near = get_close_matches(str(word), list(Outcome), n=1)
        hint = f"did you mean {str(near[0])!r}?" if near else f"use one of {', '.join(Outcome)}."
        raise WrongReturn(f"{word!r} is not an outcome of a response; {hint}") from None
