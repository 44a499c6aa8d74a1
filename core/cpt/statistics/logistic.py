"""Logistic regression with an L1 penalty and soft targets, for a few features."""

from __future__ import annotations

from itertools import product
from typing import Any

import attrs
import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

CLOSE = 1e-9
STEPS = 100
SLOW, FEW = 20, 4
"""Passes of coordinate descent that are many, features that are few."""
WEAK = 100.0
"""The inverse strength of a penalty that only keeps separable data finite."""


@attrs.frozen
class Problem:
    """Rows to fit: P(y = 1 | x) = sigmoid(w . x), without an intercept."""

    features: Array
    """Shape (rows, features)."""
    targets: Array
    """Shape (rows,), each from 0 to 1."""
    weights: Array
    """Shape (rows,), what each row counts."""

    def rows(self, chosen: Array) -> Problem:
        """The same of some rows."""
        return Problem(self.features[chosen], self.targets[chosen], self.weights[chosen])

    def loss(self, w: Array) -> float:
        """The weighted sum of log losses: sum_i s_i (log(1 + exp(x_i w)) - y_i x_i w)."""
        logits = self.features @ w
        losses = np.logaddexp(0, logits) - self.targets * logits
        return float(self.weights @ losses)


def sigmoid(logits: Array) -> Array:
    """1 / (1 + exp(-z)), without overflow."""
    found: Array = np.exp(-np.logaddexp(0, -logits))
    return found


def fit(problem: Problem, c: float, start: Array | None = None) -> Array:
    """The w that minimises |w|_1 + c * loss(w), exactly.

    Proximal Newton steps with a line search (Lee, Sun and Saunders 2014): the penalised quadratic
    model of the loss is minimised one coordinate at a time. `c` is scikit-learn's `C`.
    """
    w = np.zeros(problem.features.shape[1]) if start is None else start.copy()
    for _ in range(STEPS):
        step = _step(problem, c, w)
        if np.abs(step).max() < CLOSE:
            break
        w = w + _shortened(problem, c, w, step)
    return w


def _step(problem: Problem, c: float, w: Array) -> Array:
    """The step to the minimum of the penalised quadratic model at `w`."""
    x = problem.features
    chance = sigmoid(x @ w)
    slope = c * x.T @ (problem.weights * (chance - problem.targets))
    curvature = c * (x.T * (problem.weights * chance * (1 - chance))) @ x
    curvature += 1e-9 * np.eye(len(w))
    return _lasso(curvature, slope - curvature @ w, w) - w


def _lasso(curvature: Array, slope: Array, start: Array) -> Array:
    """The v that minimises |v|_1 + slope . v + v' curvature v / 2.

    Coordinate descent: of features that nearly say the same it would take thousands of passes, so
    after some the signs that v can have are tried, where they are few.
    """
    v = start.copy()
    for passes in range(1000):
        before = v.copy()
        for k in range(len(v)):
            rest = curvature[k] @ v - curvature[k, k] * v[k] + slope[k]
            v[k] = -np.sign(rest) * max(abs(rest) - 1, 0) / curvature[k, k]
        if np.abs(v - before).max() < CLOSE / 10:
            break
        if passes == SLOW and len(v) <= FEW:
            patterns = map(np.array, product((0.0, 1.0, -1.0), repeat=len(v)))
            tried = (_with_signs(signs, curvature, slope) for signs in patterns)
            return next((found for found in tried if found is not None), v)
    return v


def _with_signs(signs: Array, curvature: Array, slope: Array) -> Array | None:
    """The minimum, if it has these signs; else None."""
    on = signs != 0
    found = np.zeros_like(slope)
    try:
        found[on] = np.linalg.solve(curvature[np.ix_(on, on)], -(slope + signs)[on])
    except np.linalg.LinAlgError:
        return None
    rest = np.abs(curvature @ found + slope)[~on]
    return found if (np.sign(found) == signs).all() and (rest <= 1 + CLOSE).all() else None


def _shortened(problem: Problem, c: float, w: Array, step: Array) -> Array:
    """The step, halved until the objective falls."""

    def objective(at: Array) -> float:
        return float(np.abs(at).sum()) + c * problem.loss(at)

    here = objective(w)
    while objective(w + step) > here and np.abs(step).max() > CLOSE:
        step = step / 2
    return step


def cross_validated(problem: Problem, grid: Array, folds: int = 5) -> float:
    """The c of the grid with the least mean loss on held-out rows; row i is in fold i % folds.

    Of equal ones it is the first.
    """
    fold_of = np.arange(len(problem.targets)) % folds
    held = [problem.rows(fold_of == fold) for fold in range(folds)]
    rest = [problem.rows(fold_of != fold) for fold in range(folds)]
    starts: list[Array | None] = [None] * folds
    losses = []
    for c in grid:
        starts = [fit(kept, c, start) for kept, start in zip(rest, starts, strict=True)]
        pairs = zip(held, starts, strict=True)
        losses.append(
            np.mean([part.loss(w) / len(part.targets) for part, w in pairs if w is not None])
        )
    return float(grid[int(np.argmin(losses))])
