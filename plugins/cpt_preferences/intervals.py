"""95% intervals of means over pairs, some of which have the same prompt."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, sqrt

import cpt
from cpt.statistics import wilson
from cpt_preferences.rewards import Reward

Z = 1.96
Value = Callable[[Reward], float]


def clustered(
    rewards: Sequence[Reward], value: Value, missing: Mapping[str, cpt.Missing] | None = None
) -> cpt.Score:
    """A mean with its normal interval; the standard error is that of prompts, not of pairs.

    Its square is G/(G-1) * sum over the G prompts of (the sum of their pairs' deviations)^2 / n^2
    (Cameron and Miller, 2015, equation 7, for a mean).
    """
    each = {reward.pair.id: value(reward) for reward in rewards}
    middle = _mean(each.values())
    error = standard_error(rewards, value)
    half = Z * error if error is not None else _widest(each, middle)
    return cpt.Score(
        value=middle, low=middle - half, high=middle + half, each=each, missing=missing or {}
    )


def proportion(
    rewards: Sequence[Reward], value: Value, missing: Mapping[str, cpt.Missing] | None = None
) -> cpt.Score:
    """A mean of values from 0 to 1, with Wilson's interval, which stays between them.

    Its sample size is that of independent pairs with the same standard error; where the values do
    not vary, it is the number of prompts.
    """
    each = {reward.pair.id: value(reward) for reward in rewards}
    middle = _mean(each.values())
    error = standard_error(rewards, value)
    if all(one == 0.5 for one in each.values()):
        low = high = 0.5  # every reward is 0: nothing was drawn
    elif error is None:
        low, high = 0.0, 1.0
    else:
        size = middle * (1 - middle) / error**2 if error else float(_prompts(rewards))
        low, high = wilson(middle, min(size, float(len(rewards))))
    return cpt.Score(value=middle, low=low, high=high, each=each, missing=missing or {})


def standard_error(rewards: Sequence[Reward], value: Value) -> float | None:
    """That of the mean, with pairs of one prompt together; None for a single prompt."""
    middle = _mean([value(reward) for reward in rewards])
    sums: dict[str, float] = defaultdict(float)
    for reward in rewards:
        sums[reward.pair.prompt.id] += value(reward) - middle
    count = len(sums)
    if count < 2:
        return None
    return sqrt(count / (count - 1) * sum(one**2 for one in sums.values())) / len(rewards)


def _prompts(rewards: Sequence[Reward]) -> int:
    return len({reward.pair.prompt.id for reward in rewards})


def _widest(each: Mapping[str, float], middle: float) -> float:
    """Half of an interval that holds every value; that of a single value is infinite."""
    return max(abs(one - middle) for one in each.values()) if len(each) > 1 else inf


def _mean(values: Iterable[float]) -> float:
    from statistics import fmean  # slow to import

    return fmean(values)
