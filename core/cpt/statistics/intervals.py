"""Intervals of what is estimated from a sample."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

LEVEL = 0.95
DRAWS = 1000
AT_ONCE = 10**6
"""Values that are drawn together."""


def bootstrap(
    values: Sequence[float],
    weights: Sequence[float] | None = None,
    *,
    level: float = LEVEL,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float] | None:
    """The percentile bootstrap interval of a (weighted) mean; None for fewer than two values.

    The same values, draws and seed give the same interval (Efron and Tibshirani 1993, 13.3).
    """
    import numpy as np

    if len(values) < 2:
        return None
    known = np.asarray(values, dtype=float)
    counts = np.ones(len(known)) if weights is None else np.asarray(weights, dtype=float)
    random = np.random.default_rng(seed)
    means: list[float] = []
    at_once = max(1, AT_ONCE // len(known))
    for begun in range(0, draws, at_once):
        rows = min(at_once, draws - begun)
        drawn = random.integers(0, len(known), (rows, len(known)))
        means += ((known * counts)[drawn].sum(axis=1) / counts[drawn].sum(axis=1)).tolist()
    return interval_of(means, level)


def wilson(share: float, n: float) -> tuple[float, float]:
    """The 95% interval of a share of n draws, from 0 to 1 (Wilson 1927); n may be effective.

    Also of a mean of n values from 0 to 1, which vary no more than ones and zeros: it is then too
    wide rather than too narrow, and never without width.
    """
    z = 1.96
    middle, scale = share + z * z / (2 * n), 1 + z * z / n
    half = z * sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = (middle - half) / scale, (middle + half) / scale
    # Rounding must not put the share itself outside.
    return max(0.0, min(low, share)), min(1.0, max(high, share))


def interval_of(drawn: Sequence[float], level: float = LEVEL) -> tuple[float, float]:
    """The middle share `level` of what was drawn."""
    import numpy as np

    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
