"""Win rates of a model against a baseline, as AlpacaEval reports them."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import attrs

from cpt.errors import BadData


@attrs.frozen(kw_only=True)
class WinRate:
    """Win rates in percent, under the names of AlpacaEval's leaderboard."""

    win_rate: float
    """The mean win."""
    standard_error: float | None
    """Of `win_rate`; None where there is a single comparison."""
    discrete_win_rate: float
    """The same with every win counted whole: 1, 0, or 0.5 for a draw."""
    n_wins: int
    """Comparisons that the model won."""
    n_wins_base: int
    """Comparisons that the baseline won."""
    n_draws: int
    n_total: int
    """Comparisons that have a preference."""


def win_of(preference: float | None) -> float | None:
    """AlpacaEval's preference as a win of the model, from 0 to 1; None where there is none.

    A preference is 1 (the baseline is better) to 2 (the model is), and 0 for a draw. Raises
    `ValueError` for any other.
    """
    if preference is None:
        return None
    if preference == 0:
        return 0.5
    if not 1 <= preference <= 2:
        raise ValueError(f"a preference is from 1 to 2, or 0 for a draw, not {preference:g}")
    return preference - 1


def win_rate(wins: Sequence[float | None]) -> WinRate:
    """The win rates over comparisons; those without a win (None) are left out.

    `wins` are from 0 (the baseline is better) over 0.5 (a draw) to 1. Raises `BadData` if no
    comparison has one.
    """
    from statistics import fmean, stdev  # slow to import

    known = [win for win in wins if win is not None]
    if not known:
        raise BadData(f"none of {len(wins)} comparisons has a preference: there is no win rate.")
    won, lost = sum(win > 0.5 for win in known), sum(win < 0.5 for win in known)
    drawn = len(known) - won - lost
    return WinRate(
        win_rate=100 * fmean(known),
        standard_error=100 * stdev(known) / sqrt(len(known)) if len(known) > 1 else None,
        discrete_win_rate=100 * (won + drawn / 2) / len(known),
        n_wins=won,
        n_wins_base=lost,
        n_draws=drawn,
        n_total=len(known),
    )
