"""The scores of a run: every evaluator's, for every model, with their differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cpt.config import AFTER, BEFORE
from cpt.files import read_json
from cpt.run import read
from cpt.run.steps.evaluation import changes
from cpt.types import Score


@attrs.frozen(kw_only=True)
class ModelResult:
    """One score of one model."""

    model: str
    """`before`, `after` or the name of a control."""
    score: Score
    change: Score | None = None
    """This model minus `before`, prompt by prompt."""
    lead: Score | None = None
    """`after` minus this model, prompt by prompt; None for `before` and `after`."""


@attrs.frozen(kw_only=True)
class ScoreTable:
    """One score of all models that have it, in the order of the run."""

    name: str
    prompts: int
    decimals: int
    """How many decimals are worth printing beside the widest interval."""
    results: tuple[ModelResult, ...]

    def of(self, model: str) -> ModelResult | None:
        return next((result for result in self.results if result.model == model), None)


def read_scores(run: Path) -> tuple[ScoreTable, ...]:
    """Every score in `scores.json`; empty if there is no such file.

    Raises `BadData` if it is damaged.
    """
    scores = read.read_scores(run / "scores.json")
    change = read_json(run / "scores.json")["change"] if scores else {}
    names = dict.fromkeys(name for named in scores.values() for name in named)
    return tuple(_table(name, scores, change) for name in names)


def _table(
    name: str, scores: Mapping[str, Mapping[str, Score]], change: Mapping[str, Any]
) -> ScoreTable:
    results = tuple(
        ModelResult(
            model=model,
            score=named[name],
            change=None if model == BEFORE else _score(change.get(model, {}).get(name)),
            lead=None if model in (BEFORE, AFTER) else _lead(name, named, scores.get(AFTER, {})),
        )
        for model, named in scores.items()
        if name in named
    )
    known = [result.score for result in results]
    return ScoreTable(
        name=name,
        prompts=max(len(score.each) for score in known),
        decimals=_decimals(known),
        results=results,
    )


def _score(plain: Mapping[str, Any] | None) -> Score | None:
    return Score(**plain) if plain else None


def _lead(name: str, other: Mapping[str, Score], after: Mapping[str, Score]) -> Score | None:
    return _score(changes(other, after).get(name))


def _decimals(scores: Sequence[Score]) -> int:
    halves = [(score.high - score.low) / 2 for score in scores]
    widest = max((half for half in halves if math.isfinite(half)), default=0.0)
    return min(max(1 - math.floor(math.log10(widest)), 0), 6) if widest else 3
