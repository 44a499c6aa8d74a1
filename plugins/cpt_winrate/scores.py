"""From judged comparisons to scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import inf
from statistics import fmean

import cpt
from cpt.data import Annotation, Difficulties
from cpt.statistics import Regularizer, bootstrap, length_controlled

UNDECIDED = cpt.Missing("undecided", "a draw, or answers of equal length")
ORDER = (
    *("raw", "discrete", "weighted", "lc", "length_only", "longer_preferred"),
    *("position_bias", "ties"),
)
FEWEST = 10
"""Comparisons below which no rate at equal length is fitted."""


def scores_of(
    found: Mapping[str, Annotation | cpt.Missing],
    difficulty: Difficulties | None = None,
    regularizer: Regularizer | None = None,
) -> dict[str, cpt.Score]:
    """Every score in percent, over the prompts that were compared."""
    judged = {name: one for name, one in found.items() if not isinstance(one, cpt.Missing)}
    missing = {name: one for name, one in found.items() if isinstance(one, cpt.Missing)}
    scores = {
        name: cpt.Score.mean({prompt: 100 * of(one) for prompt, one in judged.items()}, missing)
        for name, of in FIGURES.items()
    }
    scores |= _longer_preferred(judged, missing)
    scores |= _weighted(judged)
    if len(judged) >= FEWEST:
        scores["lc"] = _at_equal_length(list(judged.values()), difficulty, regularizer)
    return {name: scores[name] for name in ORDER if name in scores}


def _win(one: Annotation) -> float:
    assert one.win is not None
    return one.win


def _discrete(one: Annotation) -> float:
    return _sign(_win(one) - 0.5)


def _length_only(one: Annotation) -> float:
    return _sign(_longer_by(one))


def _position_bias(one: Annotation) -> float:
    assert one.shown_first is not None and one.shown_second is not None
    return one.shown_first - one.shown_second


def _tie(one: Annotation) -> float:
    return float(_win(one) == 0.5)


FIGURES: Mapping[str, Callable[[Annotation], float]] = {
    "raw": _win,
    "discrete": _discrete,
    "length_only": _length_only,
    "position_bias": _position_bias,
    "ties": _tie,
}


def _longer_preferred(
    judged: Mapping[str, Annotation], missing: Mapping[str, cpt.Missing]
) -> dict[str, cpt.Score]:
    """How often the longer answer won, where one is longer and one won; empty if none is."""
    decided = {
        prompt: 100 * float((_win(one) > 0.5) == (_longer_by(one) > 0))
        for prompt, one in judged.items()
        if _longer_by(one) and _win(one) != 0.5
    }
    undecided = {prompt: UNDECIDED for prompt in judged if prompt not in decided}
    if not decided:
        return {}
    return {"longer_preferred": cpt.Score.mean(decided, {**missing, **undecided})}


def _weighted(judged: Mapping[str, Annotation]) -> dict[str, cpt.Score]:
    """Arena-Hard's score, where verdicts are in grades; without values by prompt."""
    graded = [one for one in judged.values() if one.weight is not None]
    wins = [100 * _win(one) for one in graded]
    weights = [one.weight or 1.0 for one in graded]
    if not graded:
        return {}
    rate = fmean(wins, weights)
    low, high = bootstrap(wins, weights) or (-inf, inf)
    return {"weighted": cpt.Score(value=rate, low=min(low, rate), high=max(high, rate))}


def _at_equal_length(
    judged: list[Annotation], difficulty: Difficulties | None, regularizer: Regularizer | None
) -> cpt.Score:
    """The rate at equal length with its bootstrap interval; without values by prompt."""
    found = length_controlled(
        [one.win for one in judged],
        list(_lengths(judged)),
        difficulty.of(judged) if difficulty else None,
        regularizer,
    )
    rate = found.win_rate
    low, high = found.interval or ((rate, rate) if rate == 50 else (-inf, inf))
    return cpt.Score(value=rate, low=min(low, rate), high=max(high, rate))


def _lengths(judged: list[Annotation]) -> Iterator[tuple[int, int]]:
    for one in judged:
        assert one.lengths is not None
        yield one.lengths


def _longer_by(one: Annotation) -> int:
    """By how many characters the model's answer is the longer one."""
    assert one.lengths is not None
    return one.lengths[1] - one.lengths[0]


def _sign(number: float) -> float:
    """1 for a positive number, 0.5 for zero, 0 for a negative one."""
    return 0.5 if number == 0 else float(number > 0)
