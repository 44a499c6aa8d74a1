"""Verdicts of Arena-Hard (arXiv 2406.11939), and win rates at equal style."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

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
    "lists": re.compile(r"^\s*(?:\d+\.|[-*+])\s", re.MULTILINE),
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


def style_controlled(
    wins: Sequence[float],
    styles: Sequence[tuple[Mapping[str, float], Mapping[str, float]]],
    *,
    counts: Sequence[float] | None = None,
) -> tuple[float, dict[str, float]]:
    """The win rate in percent at equal style, and the weight of each feature.

    A Bradley-Terry model: logit P(win) = w_m + sum_k w_k s_k, where s_k is the difference in a
    feature of style over its standard deviation: for the length (model - baseline) / (model +
    baseline); for the others, per word, (model - baseline) / (model + baseline + 1). `styles` has
    the baseline's and the model's `style_of` for every win; `counts` is what each win counts. The
    features are not centred: with a single model that would take the control away.
    """
    import numpy as np

    from cpt.statistics.logistic import Problem, fit, sigmoid

    gaps = np.array([[_gap(name, *pair) for name in STYLE] for pair in styles], dtype=float)
    deviations = gaps.std(axis=0)
    scaled = np.divide(gaps, deviations, out=np.zeros_like(gaps), where=deviations > 0)
    features = np.column_stack([np.ones(len(wins)), scaled])
    weights = np.ones(len(wins)) if counts is None else np.asarray(counts, dtype=float)
    w = fit(Problem(features, np.asarray(wins, dtype=float), weights), WEAK)
    rate = 100 * float(sigmoid(w[:1])[0])
    return rate, dict(zip(STYLE, w[1:].tolist(), strict=True))


WEAK = 100.0
"""The inverse strength of the penalty, which only keeps separable data finite."""


def _gap(name: str, base: Mapping[str, float], model: Mapping[str, float]) -> float:
    if name == "length":
        return (model[name] - base[name]) / max(model[name] + base[name], 1)
    ours, theirs = (style[name] / max(style["length"], 1) for style in (model, base))
    return (ours - theirs) / (ours + theirs + 1)
