"""Means over seeds with their intervals, as tables and as sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf, sqrt
from statistics import fmean, stdev

import attrs

from cpt.report.formatting import DASH, signed

QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Of Student's t at 97.5%, for 1 to 9 degrees of freedom."""

BySeed = Mapping[int, Mapping[str, float]]
"""The values of a row, by seed and column."""
Rows = Mapping[str, BySeed]


@attrs.frozen
class Estimate:
    """A mean over seeds, and half of its 95% interval by Student's t (infinite for one seed)."""

    mean: float
    half: float

    @property
    def ends(self) -> tuple[float, float, float]:
        return self.mean, self.mean - self.half, self.mean + self.half

    def __str__(self) -> str:
        decimals = 1 if abs(self.mean) >= 10 else 3
        mean = signed(self.mean, decimals)
        return mean if self.half == inf else f"{mean} ± {self.half:.{decimals}f}"


def estimate(values: Sequence[float]) -> Estimate | None:
    if not values:
        return None
    if len(values) == 1:
        return Estimate(values[0], inf)
    quantile = QUANTILES[min(len(values) - 2, len(QUANTILES) - 1)]
    return Estimate(fmean(values), quantile * stdev(values) / sqrt(len(values)))


def cell(rows: Rows, row: str, column: str) -> Estimate | None:
    return estimate([found[column] for found in rows[row].values() if column in found])


def span(rows: Rows, row: str, column: str) -> str | None:
    """The least and the most of a count over seeds."""
    values = sorted({int(found[column]) for found in rows[row].values() if column in found})
    return " to ".join(map(str, (values[0], values[-1])[: len(values)])) if values else None


def differences(rows: Rows, more: str | float, than: str | float, column: str) -> list[float]:
    """The first minus the second, seed by seed; each is a row, or a number."""
    sides = [_by_seed(rows, one, column) for one in (more, than)]
    seeds = [set(side) for side in sides if side is not None]
    both = sorted(set.intersection(*seeds))
    one, other = (
        dict.fromkeys(both, number) if side is None else side
        for side, number in zip(sides, (more, than), strict=True)
    )
    return [float(one[seed]) - float(other[seed]) for seed in both]


def _by_seed(rows: Rows, one: str | float, column: str) -> dict[int, float] | None:
    """The values of a row; None for a number, which is the same for every seed."""
    if not isinstance(one, str):
        return None
    return {seed: found[column] for seed, found in rows[one].items() if column in found}


def judged(values: Sequence[float]) -> str:
    """What these differences say about a claim that they are above zero."""
    found = estimate(values)
    if found is None:
        return "not run"
    if found.half == inf or abs(found.mean) <= found.half:
        return "open"
    return "yes" if found.mean > 0 else "no"


def verdict(differences: Sequence[Sequence[float]]) -> str:
    """In one sentence, whether all these differences are above zero, as is claimed."""
    words = [judged(values) for values in differences]
    if "not run" in words:
        return "Not run." if set(words) == {"not run"} else "Run in part, so not decided."
    total = len(words)
    if words.count("yes") == total:
        return "The lab bears the claim out: every difference is above zero."
    if "no" in words:
        return (
            f"The lab does not bear the claim out: of {total} differences {words.count('no')} "
            f"below zero, {words.count('yes')} above, {words.count('open')} open."
        )
    agree = sum(all(value > 0 for value in values) for values in differences)
    return (
        f"Open: of {total} differences {words.count('yes')} above zero beyond the interval, none "
        f"below; {agree} above zero for every seed."
    )


def table(first: str, columns: Sequence[str], lines: Mapping[str, Sequence[object]]) -> str:
    """A table in Markdown; a cell without a value is a dash."""
    head = f"| {first} | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}\n"
    return head + "".join(
        f"| {name} | {' | '.join(DASH if one is None else str(one) for one in cells)} |\n"
        for name, cells in lines.items()
    )
