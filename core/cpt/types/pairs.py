"""Preferences, and the judgements and scores that say how good answers are."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, sqrt
from typing import Any

import attrs

from cpt.errors import WrongReturn
from cpt.types.checks import (
    has_finite_scores,
    has_its_interval,
    is_a,
    is_label,
    is_measured,
    is_probability,
    is_weight,
    is_whole,
)
from cpt.types.responses import Prompt, Response


@attrs.frozen
class Missing:
    """Why something was not measured."""

    reason: str
    """A short name that is counted: `unread`, `over_budget`, or another outcome of a request."""
    detail: str = ""
    """What happened here, in one line."""
    raw: str = ""
    """The text that could not be used, whole."""


@attrs.frozen(kw_only=True)
class Comparison:
    """Two responses in the order in which a judge was shown them, and which it preferred."""

    first: int
    """The place of the response that was shown first, in the order they were given."""
    second: int
    first_wins: float | None = attrs.field(validator=is_probability)
    """The probability that the first is the better one; 0.5 is a tie, None could not be read."""
    weight: float | None = attrs.field(default=None, validator=is_weight)
    """How often it counts, of verdicts in grades: a strong one more often than a plain one."""
    read_from: str = ""
    """Where that was read: `logprobs`, `json` or `text`."""
    raw: str = ""
    """The judge's own words."""
    missing: Missing | None = None
    """Why it could not be read."""


@attrs.frozen(kw_only=True)
class Verdict:
    """What a judge found: one score for each response, in the order they were given."""

    scores: tuple[float | None, ...] = attrs.field(validator=has_finite_scores)
    """Higher is better, finite; None where the judge gave nothing that can be read."""
    rationale: str = ""
    raw: tuple[str, ...] = ()
    """The judge's own words, one text for each response."""
    missing: tuple[Missing | None, ...] = ()
    """Why a response has no score, in the order of `scores`; None where it has one."""
    comparisons: tuple[Comparison, ...] = ()
    """What the scores come from, where responses were compared."""
    info: Mapping[str, Any] = attrs.field(factory=dict)
    """What else to keep with the pairs that come of it, as plain data."""

    def score_of(self, place: int) -> float | Missing:
        """The score of one response, or why it has none."""
        score = self.scores[place]
        if score is not None:
            return score
        reason = self.missing[place] if place < len(self.missing) else None
        raw = self.raw[place] if place < len(self.raw) else ""
        return reason or Missing("no_score", "the judge gave no score", raw)

    def about(self, chosen: int, rejected: int) -> dict[str, Any]:
        """What to keep in the `info` of a pair of two of the responses, as plain data.

        `comparisons` lists each time that they were shown together: which came `first`, the
        probability that `first_wins`, where it was `read_from`, and `raw`, the judge's own words.
        """
        sides = {chosen: "chosen", rejected: "rejected"}
        shown = [one for one in self.comparisons if {one.first, one.second} == {chosen, rejected}]
        compared = [
            {
                "first": sides[one.first],
                "first_wins": one.first_wins,
                "read_from": one.read_from,
                "raw": one.raw,
                **({} if one.weight is None else {"weight": one.weight}),
            }
            for one in shown
        ]
        return {**({"comparisons": compared} if compared else {}), **self.info}


@attrs.frozen(kw_only=True)
class Pair:
    """A preference: to this prompt, `chosen` rather than `rejected`."""

    prompt: Prompt = attrs.field(validator=is_a(Prompt))
    chosen: Response = attrs.field(validator=is_a(Response))
    rejected: Response = attrs.field(validator=is_a(Response))
    pairer: str = ""
    """Which pairer made it."""
    tier: int = attrs.field(default=0, validator=is_whole)
    """How far apart the two are, in whole steps: 1 is the hardest to tell, 0 is unknown."""
    margin: float | None = attrs.field(default=None, validator=is_measured)
    """How clear the preference is, in the pairer's unit: rungs, judge points, edit distance."""
    chosen_score: float | None = attrs.field(default=None, validator=is_measured)
    rejected_score: float | None = attrs.field(default=None, validator=is_measured)
    weight: float = attrs.field(default=1.0, validator=is_measured)
    """What its loss is multiplied by."""
    label: bool | None = attrs.field(default=None, validator=is_label)
    """Of unpaired data, whether the only answer is good (`chosen`) or bad (`rejected`).

    The other side is then empty. None for a pair.
    """
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

    @property
    def answers(self) -> tuple[Response, ...]:
        """Chosen and rejected; of unpaired data the only answer."""
        if self.label is None:
            return self.chosen, self.rejected
        return (self.chosen if self.label else self.rejected,)


@attrs.frozen
class Drop:
    """Why a filter leaves a pair out."""

    reason: str
    """A short name that is counted: `too_long`, `no_score`."""
    detail: str = ""
    """What is so here, in one line."""


@attrs.frozen(kw_only=True)
class PairLogps:
    """Log-probabilities of the two answers of a pair under one model, in nats."""

    chosen: float
    """log π(y|x) of the chosen answer, summed over its tokens."""
    rejected: float
    """The same of the rejected answer."""
    chosen_tokens: int
    """Tokens of the chosen answer, with the one that ends it."""
    rejected_tokens: int


@attrs.frozen(kw_only=True)
class Score:
    """One measured quantity, with its uncertainty. Raises `WrongReturn` if the two do not fit."""

    value: float
    low: float
    """Lower end of the 95% interval."""
    high: float
    """Upper end of the 95% interval; infinite only where a single value was measured."""
    each: Mapping[str, float] = attrs.field(factory=dict, repr=False)
    """The value of every measured prompt by its id: what a paired comparison needs."""
    missing: Mapping[str, Missing] = attrs.field(factory=dict, repr=False)
    """Why the other prompts have no value, by id."""
    unit: str = attrs.field(default="prompts", repr=False)
    """What those are, if they are no prompts: `pairs`, `questions`. A run fills it in."""

    def __attrs_post_init__(self) -> None:
        has_its_interval(self)

    @property
    def n(self) -> int:
        """How many prompts were measured; 0 for a score without values by prompt."""
        return len(self.each)

    @property
    def of(self) -> int:
        """How many prompts there are, measured or missing."""
        return len(self.each.keys() | self.missing.keys())

    @classmethod
    def mean(cls, each: Mapping[str, float], missing: Mapping[str, Missing] | None = None) -> Score:
        """The mean over prompts, with its normal interval; that of a single value is infinite.

        Raises `WrongReturn` if there is no value.
        """
        from statistics import fmean, stdev  # slow to import

        values = list(each.values())
        if not values:
            raise WrongReturn("Score.mean: there is no value to take the mean of.")
        middle = fmean(values)
        half = 1.96 * stdev(values) / sqrt(len(values)) if len(values) > 1 else inf
        return cls(
            value=middle, low=middle - half, high=middle + half, each=each, missing=missing or {}
        )
