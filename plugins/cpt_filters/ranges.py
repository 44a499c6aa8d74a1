"""Pairs by what a judge said of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import isnan

import attrs

import cpt

Range = tuple[float | None, float | None]


@attrs.frozen
class ScoreRange(cpt.Filter):
    """Keeps pairs whose answers have scores in a range.

    A pair without a score that a limit asks for goes as well.
    """

    name = "score_range"
    chosen_min: float | None = None
    """The lowest score of a chosen answer."""
    chosen_max: float | None = None
    """The highest score of a chosen answer."""
    rejected_min: float | None = None
    """The lowest score of a rejected answer."""
    rejected_max: float | None = None
    """The highest score of a rejected answer."""

    def check(self) -> None:
        _refuse(self.name, self._ranges())

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        ranges = self._ranges()
        for pair in pairs:
            scores = {"chosen": pair.chosen_score, "rejected": pair.rejected_score}
            yield _drop(scores, ranges) or pair

    def _ranges(self) -> Mapping[str, Range]:
        return {
            "chosen": (self.chosen_min, self.chosen_max),
            "rejected": (self.rejected_min, self.rejected_max),
        }


@attrs.frozen
class MarginRange(cpt.Filter):
    """Keeps pairs whose margin is in a range: clear ones, or those that are hard to tell."""

    name = "margin_range"
    min: float | None = None
    """The smallest margin, in the pairer's unit."""
    max: float | None = None
    """The largest margin, in the pairer's unit."""

    def check(self) -> None:
        _refuse(self.name, {"": (self.min, self.max)})

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        for pair in pairs:
            yield _drop({"margin": pair.margin}, {"margin": (self.min, self.max)}) or pair


def _drop(values: Mapping[str, float | None], ranges: Mapping[str, Range]) -> cpt.Drop | None:
    """Why these values are not in their ranges; None if they are."""
    for name, (low, high) in ranges.items():
        value = values[name]
        if low is None and high is None:
            continue
        if value is None:
            return cpt.Drop("unknown", f"no {name if name == 'margin' else f'{name} score'}")
        if low is not None and value < low:
            return cpt.Drop("too_low", f"{name} {value:g} is below {low:g}")
        if high is not None and value > high:
            return cpt.Drop("too_high", f"{name} {value:g} is above {high:g}")
    return None


def _refuse(name: str, ranges: Mapping[str, Range]) -> None:
    """Raise `CptError` if there is no limit, or a range holds nothing."""
    if all(limit is None for limits in ranges.values() for limit in limits):
        flag = "-".join(filter(None, (next(iter(ranges)), "min")))
        raise cpt.CptError(f"filters: {name} has no limit; give one, as in --filters.{flag} 1.")
    for side, (low, high) in ranges.items():
        if any(limit is not None and isnan(limit) for limit in (low, high)):
            raise cpt.CptError(f"filters: {name}: {f'{side} nan'.strip()} is no limit.")
        if low is not None and high is not None and low > high:
            what = f"{side} {low:g} to {high:g}".strip()
            raise cpt.CptError(f"filters: {name}: {what} holds nothing.")
