"""Differences between two scores, prompt by prompt."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from math import inf, sqrt

from cpt.types import Missing, Score


def shared(one: Mapping[str, float], other: Mapping[str, float]) -> list[str]:
    """The prompts that both have a value of, in the order of the first."""
    return [prompt for prompt in one if prompt in other]


def difference(
    one: Score, other: Score, *, comparisons: int = 1, level: float = 0.95
) -> Score | None:
    """`one` minus `other` over the prompts that both have; None if they share none.

    With `comparisons` of such differences looked at together, each interval is wider, so that all
    of them hold at once with the probability `level` (Bonferroni: each is at 1 - (1 - level) / m).
    """
    prompts = shared(one.each, other.each)
    if not prompts:
        return None
    gaps = {prompt: one.each[prompt] - other.each[prompt] for prompt in prompts}
    unpaired = _unpaired(one, other, gaps)
    from statistics import NormalDist, fmean, stdev  # slow to import

    middle = fmean(gaps.values())
    reach = NormalDist().inv_cdf(1 - (1 - level) / (2 * comparisons))
    half = reach * stdev(gaps.values()) / sqrt(len(gaps)) if len(gaps) > 1 else inf
    return Score(
        value=middle,
        low=middle - half,
        high=middle + half,
        each=gaps,
        missing=unpaired,
        unit=one.unit,
    )


def _unpaired(one: Score, other: Score, paired: Collection[str]) -> dict[str, Missing]:
    """Why the other prompts have no difference."""
    missing = {**one.missing, **other.missing}
    unnamed = Missing("unpaired", "measured on one side only")
    return {
        prompt: missing.get(prompt, unnamed)
        for prompt in {**one.each, **other.each, **missing}
        if prompt not in paired
    }
