"""The records that flow through a run, and the batch that a loss sees."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from math import inf, sqrt
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import attrs

from cpt.checks import has_finite_scores, has_its_interval, is_a
from cpt.errors import CptError, NoPair, WrongReturn

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
    """The outcome that a word names. Raises `WrongReturn`."""
    try:
        return Outcome(word)
    except ValueError:
        near = get_close_matches(str(word), list(Outcome), n=1)
        hint = f"did you mean {str(near[0])!r}?" if near else f"use one of {', '.join(Outcome)}."
        raise WrongReturn(f"{word!r} is not an outcome of a response; {hint}") from None


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
        return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in self.messages)


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

    scores: tuple[float | None, ...] = attrs.field(validator=has_finite_scores)
    """Higher is better, finite; None where the judge gave nothing that can be read."""
    rationale: str = ""
    raw: tuple[str, ...] = ()
    """The judge's own words, one text for each time it was asked."""


@attrs.frozen(kw_only=True)
class Pair:
    """A preference: to this prompt, `chosen` rather than `rejected`."""

    prompt: Prompt = attrs.field(validator=is_a(Prompt))
    chosen: Response = attrs.field(validator=is_a(Response))
    rejected: Response = attrs.field(validator=is_a(Response))
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
        # Defaults come before validators, whose complaint about a wrong part is the clearer one.
        prompt, chosen, rejected = (
            getattr(part, name, None)
            for part, name in (
                (self.prompt, "id"),
                (self.chosen, "author"),
                (self.rejected, "author"),
            )
        )
        return f"{prompt}/{chosen}>{rejected}"


@attrs.frozen(kw_only=True)
class Score:
    """One measured quantity, with its uncertainty. Raises `WrongReturn` if the two do not fit."""

    value: float
    low: float
    """Lower end of the 95% interval."""
    high: float
    """Upper end of the 95% interval; infinite only where a single value was measured."""
    each: Mapping[str, float] = attrs.field(factory=dict, repr=False)
    """The value of every prompt by its id: what a paired comparison needs."""

    def __attrs_post_init__(self) -> None:
        has_its_interval(self)

    @classmethod
    def mean(cls, each: Mapping[str, float]) -> Score:
        """The mean over prompts, with its normal interval; that of a single value is infinite.

        Raises `WrongReturn` if there is no value.
        """
        from statistics import fmean, stdev  # slow to import

        values = list(each.values())
        if not values:
            raise WrongReturn("Score.mean: there is no value to take the mean of.")
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

    def select(self, pairs: slice | Tensor) -> TokenLogps:
        """Those of some of the pairs, given as a slice or as indices."""
        reference = None if self.reference is None else self.reference[pairs]
        return TokenLogps(policy=self.policy[pairs], reference=reference, mask=self.mask[pairs])


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

    def select(self, pairs: slice | Tensor) -> Logps:
        """Those of some of the pairs, given as a slice or as indices."""
        return Logps(
            policy=self.policy[pairs],
            length=self.length[pairs],
            reference=None if self._reference is None else self._reference[pairs],
            tokens=None if self._tokens is None else self._tokens.select(pairs),
        )


@attrs.frozen(eq=False, kw_only=True)
class Batch:
    """What a loss sees of some pairs. It may gain fields; it will not lose any."""

    ids: tuple[str, ...]
    """The id of each pair."""
    prompt_infos: tuple[Mapping[str, Any], ...]
    """`Prompt.info` of each pair: the other columns of its prompt."""
    chosen: Logps
    _rejected: Logps | None = None
    tier: Tensor
    """`Pair.tier`, whole numbers: 1 is the hardest to tell, 0 is unknown. Shape (pairs,)."""
    margin: Tensor
    """`Pair.margin`, how clear each preference is; NaN where unknown. Shape (pairs,)."""
    chosen_score: Tensor
    """`Pair.chosen_score`; NaN where unknown. Shape (pairs,)."""
    rejected_score: Tensor
    """`Pair.rejected_score`; NaN where unknown. Shape (pairs,)."""
    progress: float = 0.0
    """How far training has come, from 0 at the first step to 1 at the last."""
    _mismatched: Logps | None = None

    @property
    def rejected(self) -> Logps:
        """Log-probabilities of the rejected side."""
        return _needed(self._rejected, "rejected")

    @property
    def mismatched(self) -> Logps:
        """Each prompt with another prompt's chosen response, to estimate a KL divergence.

        Of all pairs of the optimizer step, however it is cut, and without gradient. Shape (step,).
        """
        return _needed(self._mismatched, "mismatched")

    def select(self, pairs: slice) -> Batch:
        """The batch of some of the pairs; `mismatched` stays that of the whole step."""
        return Batch(
            ids=self.ids[pairs],
            prompt_infos=self.prompt_infos[pairs],
            chosen=self.chosen.select(pairs),
            rejected=None if self._rejected is None else self._rejected.select(pairs),
            tier=self.tier[pairs],
            margin=self.margin[pairs],
            chosen_score=self.chosen_score[pairs],
            rejected_score=self.rejected_score[pairs],
            progress=self.progress,
            mismatched=self._mismatched,
        )


def _needed(value: T | None, need: str) -> T:
    if value is None:
        raise CptError(f"This loss reads {need!r} but does not name it in its `needs`.")
    return value
