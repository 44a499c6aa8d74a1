"""The records that flow through a run, and the batch that a loss sees."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from itertools import groupby
from math import inf, sqrt
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from cpt.errors import BadData, CptError, NoPair

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")


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


def outcome_of(word: str) -> Outcome:
    """The outcome that a word names. Raises `BadData`."""
    try:
        return Outcome(word)
    except ValueError:
        near = get_close_matches(str(word), list(Outcome), n=1)
        hint = f"did you mean {str(near[0])!r}?" if near else f"use one of {', '.join(Outcome)}."
        raise BadData(f"{word!r} is not an outcome of a response; {hint}") from None


@attrs.frozen
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


@attrs.frozen(kw_only=True)
class Prompt:
    """What a model is asked."""

    id: str
    messages: tuple[Message, ...]
    info: Mapping[str, Any] = attrs.field(factory=dict)
    """Other columns of the row it came from."""

    @property
    def text(self) -> str:
        """What is asked, as one text: the only message, or a transcript of several."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return "\n\n".join(f"{each.role.capitalize()}: {each.content}" for each in self.messages)


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens that one request took, as its provider counted them."""

    input_tokens: int = 0
    cached_tokens: int = 0
    """The part of `input_tokens` that the provider had cached."""
    output_tokens: int = 0


@attrs.frozen(kw_only=True)
class Response:
    """What one responder answered to one prompt, or why it did not."""

    prompt_id: str
    text: str
    author: str
    """Who wrote it: a model's name."""
    outcome: Outcome = attrs.field(default=Outcome.ANSWERED, converter=outcome_of)
    """How the request ended; a plain word is converted."""
    finish_reason: str = ""
    """Why the text ended, in the provider's own word."""
    detail: str = ""
    """What went wrong, in one line, where `outcome` is not `answered`."""
    usage: Usage = Usage()
    info: Mapping[str, Any] = attrs.field(factory=dict)

    def expect(self, *allowed: str) -> Response:
        """Itself if it was answered (or has an `allowed` outcome), else raise `NoPair`."""
        if self.outcome is Outcome.ANSWERED or self.outcome in allowed:
            return self
        raise NoPair(
            self.outcome.value,
            f"{self.author}: {self.detail or self.finish_reason or self.outcome}",
            self.text,
        )


@attrs.frozen(kw_only=True)
class Verdict:
    """What a judge found: one score for each response, in the order they were given."""

    scores: tuple[float | None, ...]
    """Higher is better; None where the judge gave nothing that can be read."""
    rationale: str = ""
    raw: tuple[str, ...] = ()
    """The judge's own words, one text for each time it was asked."""

    @property
    def ranking(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the scored responses, best first, ties together."""
        scored = [(score, index) for index, score in enumerate(self.scores) if score is not None]
        best_first = sorted(scored, key=lambda each: -each[0])
        return tuple(
            tuple(index for _, index in tied)
            for _, tied in groupby(best_first, key=lambda each: each[0])
        )


@attrs.frozen(kw_only=True)
class Pair:
    """A preference: to this prompt, `chosen` rather than `rejected`."""

    prompt: Prompt
    chosen: Response
    rejected: Response
    pairer: str = ""
    """Which pairer made it."""
    tier: int = 0
    """How far apart the two are, in whole steps: 1 is the hardest to tell, 0 is unknown."""
    margin: float | None = None
    """How clear the preference is, in the pairer's unit: rungs, judge points, edit distance."""
    chosen_score: float | None = None
    rejected_score: float | None = None
    weight: float = 1.0
    """What its loss is multiplied by."""
    rationale: str = ""
    info: Mapping[str, Any] = attrs.field(factory=dict)
    id: str = attrs.field()

    @id.default
    def _id(self) -> str:
        return f"{self.prompt.id}/{self.chosen.author}>{self.rejected.author}"


@attrs.frozen(kw_only=True)
class Score:
    """One measured quantity, with its uncertainty."""

    value: float
    low: float
    """Lower end of the 95% interval."""
    high: float
    """Upper end of the 95% interval."""
    each: Mapping[str, float] = attrs.field(factory=dict, repr=False)
    """The value of every prompt by its id: what a paired comparison needs."""

    @classmethod
    def mean(cls, each: Mapping[str, float]) -> Score:
        """The mean over prompts, with its normal interval; one value alone has no end to it."""
        values = list(each.values())
        middle = fmean(values)
        half = 1.96 * stdev(values) / sqrt(len(values)) if len(values) > 1 else inf
        return cls(value=middle, low=middle - half, high=middle + half, each=each)


@attrs.frozen(eq=False, kw_only=True)
class TokenLogps:
    """Log-probabilities token by token, padded to the longest response of the batch."""

    policy: Tensor
    """Shape (pairs, time)."""
    reference: Tensor | None = None
    """Shape (pairs, time)."""
    mask: Tensor
    """True where a token belongs to the response. Shape (pairs, time)."""


@attrs.frozen(eq=False, kw_only=True)
class Logps:
    """Log-probabilities of one side of a batch, summed over the tokens of each response."""

    policy: Tensor
    """log pi(y|x) under the model being trained. Shape (pairs,)."""
    length: Tensor
    """Tokens in each response. Shape (pairs,)."""
    _reference: Tensor | None = None
    _tokens: TokenLogps | None = None

    @property
    def reference(self) -> Tensor:
        """log pi_ref(y|x) under the frozen reference. Shape (pairs,)."""
        return _needed(self._reference, "reference")

    @property
    def ratio(self) -> Tensor:
        """log pi(y|x) - log pi_ref(y|x). Shape (pairs,)."""
        return self.policy - self.reference

    @property
    def mean(self) -> Tensor:
        """log pi(y|x) per token. Shape (pairs,)."""
        return self.policy / self.length

    @property
    def tokens(self) -> TokenLogps:
        """The same token by token."""
        return _needed(self._tokens, "tokens")


@attrs.frozen(eq=False, kw_only=True)
class Batch:
    """What a loss sees. It may gain fields; it will not lose any."""

    chosen: Logps
    _rejected: Logps | None = None
    margin: Tensor
    """How clear each preference is; NaN where unknown. Shape (pairs,)."""
    chosen_score: Tensor
    """NaN where unknown. Shape (pairs,)."""
    rejected_score: Tensor
    """NaN where unknown. Shape (pairs,)."""
    progress: float = 0.0
    """How far training has come, from 0 to 1."""
    _mismatched: Logps | None = None

    @property
    def rejected(self) -> Logps:
        """The other side."""
        return _needed(self._rejected, "rejected")

    @property
    def mismatched(self) -> Logps:
        """Each prompt with another prompt's chosen response: what a KL estimate is made of.

        Of all pairs of the optimizer step, however it is cut, and without gradient. Shape (batch,).
        """
        return _needed(self._mismatched, "mismatched")


def _needed(value: T | None, need: str) -> T:
    if value is None:
        raise CptError(f"This loss reads {need!r} but does not name it in its `needs`.")
    return value
