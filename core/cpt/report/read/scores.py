"""Did it work: every score with its interval, and what it is worth beside the others."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cpt.config import AFTER, BEFORE
from cpt.errors import BadData
from cpt.report.read.files import read_json
from cpt.report.words import listed, signed, with_interval
from cpt.run.steps.evaluation import changes
from cpt.types import Score


@attrs.frozen(kw_only=True)
class Standing:
    """One model under one measure."""

    who: str
    score: Score
    change: Score | None = None
    """From the model before training, prompt by prompt."""
    lead: Score | None = None
    """By how much the trained model is above this one, prompt by prompt."""


@attrs.frozen(kw_only=True)
class Measure:
    """One score of every model that has it, in the order of the run."""

    name: str
    prompts: int
    decimals: int
    """Digits that the widest interval leaves a meaning to."""
    standings: tuple[Standing, ...]

    def of(self, who: str) -> Standing | None:
        return next((each for each in self.standings if each.who == who), None)


def read_scores(run: Path) -> tuple[Measure, ...]:
    """Every measure of `scores.json`; none if the run measured nothing."""
    plain = read_json(run / "scores.json")
    if plain is None:
        return ()
    try:
        scores = {
            who: {name: Score(**score) for name, score in named.items()}
            for who, named in plain["scores"].items()
        }
    except (TypeError, KeyError, AttributeError) as error:
        raise BadData(f"{run / 'scores.json'}: not the scores of a run ({error}).") from error
    names = dict.fromkeys(name for named in scores.values() for name in named)
    return tuple(_measure(name, scores, plain["change"]) for name in names)


def _measure(
    name: str, scores: Mapping[str, Mapping[str, Score]], change: Mapping[str, Any]
) -> Measure:
    standings = tuple(
        Standing(
            who=who,
            score=named[name],
            change=None if who == BEFORE else _score(change.get(who, {}).get(name)),
            lead=None if who in (BEFORE, AFTER) else _lead(name, named, scores.get(AFTER, {})),
        )
        for who, named in scores.items()
        if name in named
    )
    known = [each.score for each in standings]
    return Measure(
        name=name,
        prompts=max(len(score.each) for score in known),
        decimals=_decimals(known),
        standings=standings,
    )


def _score(plain: Mapping[str, Any] | None) -> Score | None:
    return Score(**plain) if plain else None


def _lead(name: str, other: Mapping[str, Score], after: Mapping[str, Score]) -> Score | None:
    return _score(changes(other, after).get(name))


def _decimals(scores: Sequence[Score]) -> int:
    halves = [(each.high - each.low) / 2 for each in scores]
    widest = max((half for half in halves if math.isfinite(half)), default=0.0)
    return min(max(1 - math.floor(math.log10(widest)), 0), 6) if widest else 3


def is_clear(change: Score) -> bool:
    """Whether the 95% interval of a difference leaves out zero."""
    return change.low > 0 or change.high < 0


def verdict(measure: Measure) -> str:
    """What became of one score, in a sentence or three."""
    return " ".join(_sentences(measure))


def _sentences(measure: Measure) -> Iterator[str]:
    before, after = measure.of(BEFORE), measure.of(AFTER)
    if before is None or after is None:
        return
    values = [with_interval(each.score, measure.decimals) for each in (before, after)]
    yield f"It was {values[0]} before and is {values[1]} after."
    if after.change is None:
        yield "No prompt was measured both times, so the change has no interval."
        return
    moved = with_interval(after.change, measure.decimals, sign=True)
    if not is_clear(after.change):
        yield f"Prompt by prompt it changed by {moved}: no change that these prompts can show."
    else:
        word = "rose" if after.change.value > 0 else "fell"
        yield f"Prompt by prompt it {word}: {moved}."
    yield from _beside(measure)


def _beside(measure: Measure) -> Iterator[str]:
    leads = [(each.who, each.lead) for each in measure.standings if each.lead]

    def those(wanted: Sequence[bool]) -> str:
        named = [
            f"{who} (by {signed(abs(lead.value), measure.decimals)})"
            for (who, lead), want in zip(leads, wanted, strict=True)
            if want
        ]
        return listed(named)

    above = those([is_clear(lead) and lead.value > 0 for _, lead in leads])
    below = those([is_clear(lead) and lead.value < 0 for _, lead in leads])
    level = listed([who for who, lead in leads if not is_clear(lead)])
    said = [
        text
        for text, there in (
            (f"above {above}", above),
            (f"below {below}", below),
            (f"not to be told from {level}", level),
        )
        if there
    ]
    if said:
        yield f"Beside the controls it is {'; '.join(said)}."
