"""The scores of a run: every evaluator's, for every model, with their differences."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from cpt.config import AFTER, BEFORE
from cpt.run.results import scores as recorded
from cpt.run.results.disagreements import (
    Disagreement,
    SideEffect,
    disagreements,
    measures,
    side_effects,
)
from cpt.run.results.scores import changes, read_meanings
from cpt.types import Score


@attrs.frozen(kw_only=True)
class ModelResult:
    """One score of one model."""

    model: str
    """`before`, `after` or the name of a control."""
    score: Score
    change: Score | None = None
    """This model minus `before`, over the prompts that both have."""
    lead: Score | None = None
    """`after` minus this model, over the prompts that both have; None for those two."""


@attrs.frozen(kw_only=True)
class ScoreTable:
    """One score of all models that have it, in the order of the run."""

    name: str
    count: int
    """How many prompts (or what `unit` says) there are, measured or not."""
    unit: str
    lower_is_better: bool
    decimals: int
    """How many decimals are worth printing beside the widest interval."""
    results: tuple[ModelResult, ...]

    def of(self, model: str) -> ModelResult | None:
        return next((result for result in self.results if result.model == model), None)


@attrs.frozen
class Agreement:
    """Whether the scores of a run tell the same story."""

    measures: int
    """Independent evaluators with a score of quality."""
    disagreements: tuple[Disagreement, ...]
    side_effects: tuple[SideEffect, ...]


def read_agreement(run: Path) -> Agreement:
    """What `scores.json` says of itself. Raises `BadData` if it is damaged."""
    scores = recorded.read_scores(run / "scores.json")
    meanings = read_meanings(run / "scores.json")
    return Agreement(
        len(measures(meanings)) if scores else 0,
        tuple(disagreements(scores, meanings)),
        tuple(side_effects(scores, meanings)),
    )


def read_scores(run: Path) -> tuple[ScoreTable, ...]:
    """Every score in `scores.json`; empty if there is no such file.

    Raises `BadData` if it is damaged.
    """
    scores = recorded.read_scores(run / "scores.json")
    names = dict.fromkeys(name for named in scores.values() for name in named)
    lower = read_meanings(run / "scores.json").lower_is_better
    return tuple(_table(name, scores, lower_is_better=name in lower) for name in names)


def _table(
    name: str, scores: Mapping[str, Mapping[str, Score]], *, lower_is_better: bool
) -> ScoreTable:
    before, after = scores.get(BEFORE, {}), scores.get(AFTER, {})
    results = tuple(
        ModelResult(
            model=model,
            score=named[name],
            change=None if model == BEFORE else changes(before, named).get(name),
            lead=None if model in (BEFORE, AFTER) else changes(named, after).get(name),
        )
        for model, named in scores.items()
        if name in named
    )
    known = [result.score for result in results]
    return ScoreTable(
        name=name,
        count=max(score.of for score in known),
        unit=known[0].unit,
        lower_is_better=lower_is_better,
        decimals=decimals_of(known),
        results=results,
    )


def decimals_of(scores: Sequence[Score]) -> int:
    """How many decimals are worth printing beside the widest interval."""
    halves = [(score.high - score.low) / 2 for score in scores]
    widest = max((half for half in halves if math.isfinite(half)), default=0.0)
    return min(max(1 - math.floor(math.log10(widest)), 0), 6) if widest else 3
