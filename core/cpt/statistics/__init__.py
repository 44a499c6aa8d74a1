"""Statistics of scores and of preferences: pure functions over numbers, without any model."""

from cpt.statistics.arena import GRADES, StyleControl, grade_values, style_controlled, style_of
from cpt.statistics.comparisons import difference, shared
from cpt.statistics.intervals import bootstrap, interval_of, wilson
from cpt.statistics.judges import Judgement, JudgementCounts, preference_of
from cpt.statistics.length_control import (
    LengthControl,
    Regularizer,
    from_weights,
    length_controlled,
    shares_of_length,
)
from cpt.statistics.win_rates import WinRate, win_of, win_rate

__all__ = [
    "GRADES",
    "Judgement",
    "JudgementCounts",
    "LengthControl",
    "Regularizer",
    "StyleControl",
    "WinRate",
    "bootstrap",
    "difference",
    "from_weights",
    "grade_values",
    "interval_of",
    "length_controlled",
    "preference_of",
    "shared",
    "shares_of_length",
    "style_controlled",
    "style_of",
    "wilson",
    "win_of",
    "win_rate",
]
