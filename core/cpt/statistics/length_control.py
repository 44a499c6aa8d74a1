"""Length-controlled win rates (Dubois et al., arXiv 2404.04475)."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import TYPE_CHECKING

import attrs

from cpt.errors import BadData

if TYPE_CHECKING:
    from cpt.statistics.logistic import Array, Problem

REFITS = 300
"""Bootstrap draws: each is a fit."""
GAMED = 0.2 / 2
"""What a row of the regularizer counts: 0.2, shared by two gamed models."""
Lengths = Sequence[tuple[int, int]]
"""Code points of the baseline's answer and of the model's, for every comparison."""


@attrs.frozen(kw_only=True)
class Regularizer:
    """Comparisons of the baseline with itself made longer or shorter, which fix what length does.

    Each is a sequence over the same rows.
    """

    length_gap: Sequence[float]
    """Length of the baseline's answer minus the other's, over its standard deviation."""
    difficulty: Sequence[float]
    wins: Sequence[float]
    """Of the answer that was made longer or shorter, from 0 to 1."""


@attrs.frozen(kw_only=True)
class LengthControl:
    """The win rate that a model would have if its answers were as long as the baseline's."""

    win_rate: float
    """In percent."""
    spread: float | None
    """AlpacaEval's `lc_standard_error`: the spread of the predictions over prompts, divided by the
    square root of their number. It is no sampling error; None for a single prompt."""
    interval: tuple[float, float] | None
    """The 95% bootstrap interval in percent, from refits with the same `c`; None without a fit."""
    weights: tuple[float, float, float]
    """Of the difference in length, the difficulty and the model."""
    c: float | None = None
    """The inverse strength of the penalty."""
    predictions: Sequence[float] = attrs.field(default=(), repr=False)
    """The chance to win each comparison at equal length, from 0 to 1."""


def length_controlled(
    wins: Sequence[float | None],
    lengths: Lengths,
    difficulty: Sequence[float] | None = None,
    regularizer: Regularizer | None = None,
    *,
    refits: int = REFITS,
    seed: int = 0,
) -> LengthControl:
    """Fit logit P(win) = w_t tanh(z) + w_d difficulty + w_m, and predict at z = 0.

    z is the length of the baseline's answer minus the model's, over its standard deviation. With
    `difficulty` (one for each comparison) and `regularizer` it is AlpacaEval's
    `length_controlled_v1`: an L1 penalty whose strength 5-fold cross-validation chooses. Without
    them those terms are left out and the penalty is weak, as it would draw the rate of few
    comparisons to 50, and its interval with it. A comparison without a win is predicted but not
    fitted. Raises `BadData` if none has a win.
    """
    import numpy as np

    from cpt.statistics.logistic import WEAK, cross_validated, fit

    hard = np.zeros(len(wins)) if difficulty is None else np.asarray(difficulty, dtype=float)
    if _is_itself(wins, lengths):
        return _predicted(hard, np.zeros(3))
    problem, own = _problem(wins, lengths, hard, regularizer)
    c = cross_validated(problem, np.logspace(-4, 4, 10)) if regularizer else WEAK
    w = fit(problem, c)
    drawn = _refitted(problem, own, hard, c, w, refits, seed)
    return attrs.evolve(_predicted(hard, w), c=c, interval=drawn)


def from_weights(weights: tuple[float, float, float], difficulty: Sequence[float]) -> LengthControl:
    """What published weights (of length, difficulty and model) predict for these prompts."""
    import numpy as np

    return _predicted(np.asarray(difficulty, dtype=float), np.asarray(weights, dtype=float))


def shares_of_length(wins: Sequence[float | None], lengths: Lengths) -> tuple[float, float | None]:
    """Two shares in percent that show what length alone explains.

    The first is the win rate of the model if always the longer answer won. The second is the share
    of the decided comparisons in which the longer answer did win; None if there are none.
    """
    known = [
        (win, two - one) for win, (one, two) in zip(wins, lengths, strict=True) if win is not None
    ]
    if not known:
        raise BadData("no comparison has a preference.")
    by_length = sum(0.5 if gap == 0 else gap > 0 for _, gap in known)
    decided = [(win > 0.5) == (gap > 0) for win, gap in known if win != 0.5 and gap]
    agree = 100 * sum(decided) / len(decided) if decided else None
    return 100 * by_length / len(known), agree


def _is_itself(wins: Sequence[float | None], lengths: Lengths) -> bool:
    """Whether the model is the baseline: every comparison a draw of equally long answers."""
    return all(win in (0.5, None) for win in wins) and all(one == two for one, two in lengths)


def _problem(
    wins: Sequence[float | None], lengths: Lengths, hard: Array, regularizer: Regularizer | None
) -> tuple[Problem, range]:
    """The rows to fit, those of the regularizer first; and the places of the model's own rows."""
    import numpy as np

    from cpt.statistics.logistic import Problem

    known = np.array([win is not None for win in wins])
    if not known.any():
        raise BadData(f"none of {len(wins)} comparisons has a preference: nothing can be fitted.")
    own = np.column_stack([np.tanh(_gap(lengths)), hard, np.ones(len(wins))])[known]
    targets = np.array([win for win in wins if win is not None], dtype=float)
    gamed, gamed_targets = _gamed(regularizer)
    weights = np.concatenate([np.full(len(gamed), GAMED), np.ones(len(own))])
    features = np.concatenate([gamed, own])
    problem = Problem(features, np.concatenate([gamed_targets, targets]), weights)
    return problem, range(len(gamed), len(features))


def _gap(lengths: Lengths) -> Array:
    """The standardised difference in length; zero where all differences are equal."""
    import numpy as np

    gap = np.array([one - two for one, two in lengths], dtype=float)
    deviation = gap.std(ddof=1) if len(gap) > 1 else 0.0
    standardised: Array = gap / deviation if deviation > 0 else np.zeros(len(gap))
    return standardised


def _gamed(regularizer: Regularizer | None) -> tuple[Array, Array]:
    import numpy as np

    if regularizer is None:
        return np.empty((0, 3)), np.empty(0)
    tanh = np.tanh(np.asarray(regularizer.length_gap, dtype=float))
    hard = np.asarray(regularizer.difficulty, dtype=float)
    features = np.column_stack([tanh, hard, np.zeros(len(tanh))])
    return features, np.asarray(regularizer.wins, dtype=float)


def _predicted(hard: Array, w: Array) -> LengthControl:
    import numpy as np

    from cpt.statistics.logistic import sigmoid

    chances = sigmoid(w[1] * hard + w[2])
    several = len(chances) > 1
    return LengthControl(
        win_rate=100 * float(np.mean(chances)),
        spread=100 * float(np.std(chances, ddof=1)) / sqrt(len(chances)) if several else None,
        interval=None,
        weights=(float(w[0]), float(w[1]), float(w[2])),
        predictions=tuple(chances.tolist()),
    )


def _refitted(
    problem: Problem, own: range, hard: Array, c: float, w: Array, refits: int, seed: int
) -> tuple[float, float] | None:
    """The interval over refits to comparisons that are drawn again with replacement."""
    import numpy as np

    from cpt.statistics.intervals import interval_of
    from cpt.statistics.logistic import fit, sigmoid

    if len(own) < 2:
        return None
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(refits):
        places = random.integers(0, len(own), len(own))
        weights = problem.weights.copy()
        weights[own.start :] *= np.bincount(places, minlength=len(own))
        again = fit(attrs.evolve(problem, weights=weights), c, w)
        drawn.append(100 * float(np.mean(sigmoid(again[1] * hard + again[2]))))
    return interval_of(drawn)
