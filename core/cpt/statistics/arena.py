"""Verdicts of Arena-Hard (arXiv 2406.11939), and win rates at equal style."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from cpt.statistics.length_control import REFITS

if TYPE_CHECKING:
    from cpt.statistics.logistic import Array, Problem

GRADES: Mapping[str, tuple[float, int]] = {
    "A>>B": (1.0, 3),
    "A>B": (1.0, 1),
    "A=B": (0.5, 1),
    "B>A": (0.0, 1),
    "B>>A": (0.0, 3),
}
"""For each verdict, the win of the answer shown as A, and how often it counts."""
SAME = {"A<<B": "B>>A", "A<B": "B>A", "B=A": "A=B", "B<A": "A>B", "B<<A": "A>>B"}
STYLE = ("length", "headers", "bold", "lists")
"""The features of style."""
_CODE = re.compile(r"```.*?```", re.DOTALL)
_MARKDOWN = {
    "headers": re.compile(r"^#{1,6}\s", re.MULTILINE),
    "bold": re.compile(r"\*\*[^*\n]+\*\*|__[^_\n]+__"),
    "lists": re.compile(r"^[^\S\n]*+(?:\d+\.|[-*+])\s", re.MULTILINE),
}


def grade_values(verdict: str, *, model_is_a: bool) -> list[float]:
    """The wins of the model that a verdict counts as: a strong one three times.

    Raises `ValueError` for a verdict that is none of `GRADES`, with or without brackets.
    """
    plain = verdict.strip().strip("[]").replace(" ", "")
    plain = SAME.get(plain, plain)
    if plain not in GRADES:
        raise ValueError(f"expected a verdict ({', '.join(GRADES)}), got {verdict!r:.60}")
    win, times = GRADES[plain]
    return [win if model_is_a else 1 - win] * times


def style_of(answer: str) -> dict[str, int]:
    """Words, headers, bold passages and items of lists; Markdown inside code does not count."""
    prose = _CODE.sub("", answer)
    counts = {name: len(mark.findall(prose)) for name, mark in _MARKDOWN.items()}
    return {"length": len(answer.split()), **counts}


@attrs.frozen(kw_only=True)
class StyleControl:
    """The win rate of a model at equal style."""

    win_rate: float
    """In percent."""
    interval: tuple[float, float] | None
    """The 95% bootstrap interval in percent, from refits; None for a single comparison."""
    weights: Mapping[str, float]
    """What each feature of style is worth to the judge, in logits for a standard deviation."""


def style_controlled(
    wins: Sequence[float],
    styles: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    counts: Sequence[float] | None = None,
    *,
    refits: int = REFITS,
    seed: int = 0,
) -> StyleControl:
    """Fit a Bradley-Terry model: logit P(win) = w_m + sum_k w_k s_k, and predict at equal style.

    s_k is the difference in a feature of style over its standard deviation: for the length (model -
    baseline) / (model + baseline); for the others, per word, (model - baseline) / (model + baseline
    + 1). `styles` has the baseline's and the model's `style_of` for every comparison; `counts` is
    what each counts. The features are not centred: with a single model that would take the control
    away.
    """
    import numpy as np

    from cpt.statistics.intervals import interval_of
    from cpt.statistics.logistic import WEAK, fit, sigmoid

    weights = np.ones(len(wins)) if counts is None else np.asarray(counts, dtype=float)
    problem = _problem(wins, styles, weights)
    w = fit(problem, WEAK)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(refits if len(wins) > 1 else 0):
        times = np.bincount(random.integers(0, len(wins), len(wins)), minlength=len(wins))
        again = fit(attrs.evolve(problem, weights=weights * times), WEAK, w)
        drawn.append(100 * float(sigmoid(again[:1])[0]))
    return StyleControl(
        win_rate=100 * float(sigmoid(w[:1])[0]),
        interval=interval_of(drawn) if drawn else None,
        weights=dict(zip(STYLE, w[1:].tolist(), strict=True)),
    )


def _problem(
    wins: Sequence[float],
    styles: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    weights: Array,
) -> Problem:
    import numpy as np

    from cpt.statistics.logistic import Problem

    gaps = np.array([[_gap(name, *pair) for name in STYLE] for pair in styles], dtype=float)
    deviations = gaps.std(axis=0)
    scaled = np.divide(gaps, deviations, out=np.zeros_like(gaps), where=deviations > 0)
    features = np.column_stack([np.ones(len(wins)), scaled])
    return Problem(features, np.asarray(wins, dtype=float), weights)


def _gap(name: str, base: Mapping[str, float], model: Mapping[str, float]) -> float:
    if name == "length":
        return (model[name] - base[name]) / max(model[name] + base[name], 1)
    ours, theirs = (style[name] / max(style["length"], 1) for style in (model, base))
    return (ours - theirs) / (ours + theirs + 1)
