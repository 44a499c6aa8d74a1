"""Shares of what was right, with intervals that are never without width."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

import cpt


def share(each: Mapping[str, float], missing: Mapping[str, cpt.Missing] | None = None) -> cpt.Score:
    """The mean of values from 0 to 1 with Wilson's 95% interval; one value alone has none.

    Three of three right answers are no proof that all will be.
    """
    from cpt.statistics import wilson

    mean = cpt.Score.mean(each, missing)
    if len(each) < 2:
        return mean
    low, high = wilson(mean.value, len(each))
    return attrs.evolve(mean, low=low, high=high)
