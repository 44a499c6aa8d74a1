"""The curriculum of arXiv 2310.02263, and stages: by tier or margin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from random import Random
from typing import Literal

import attrs

import cpt
from cpt_curriculum.batches import cut, shuffled


@attrs.frozen
class Curriculum(cpt.Scheduler):
    """One pair of every prompt an epoch: easy ones at first, hard ones ever more often.

    Each example is an easy pair with probability 1 - alpha and a hard one with probability alpha,
    which grows linearly from 0 at the first step to 1 at the last (arXiv
    2310.02263). A prompt that has no pair of the tier drawn gives one of the nearest tier; among
    several pairs of a tier one is drawn.
    """

    name = "curriculum"
    alpha: float | None = None
    """A share of hard pairs that stays the same; without it the share grows from 0 to 1."""
    reverse: bool = False
    """Begin with the hard pairs instead."""
    easy: int | None = None
    """The tier of the easy pairs; without it the largest there is."""
    hard: int | None = None
    """The tier of the hard pairs; without it the smallest there is."""

    def check(self) -> None:
        if self.alpha is not None and not 0 <= self.alpha <= 1:
            raise cpt.CptError(f"scheduler.alpha is {self.alpha}: give a share from 0 to 1.")

    def batches(
        self, pairs: Sequence[cpt.Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        if not pairs:
            return
        prompts, tiers = _read(pairs)
        easy, hard = self._tiers(tiers)
        per_epoch = -(-len(prompts) // size)
        draw = Random(seed)
        for epoch in range(epochs):
            order = shuffled(range(len(prompts)), draw)
            for step, batch in enumerate(cut(order, size), start=epoch * per_epoch):
                alpha = self._alpha(step, epochs * per_epoch)
                yield [
                    _drawn(prompts[prompt], hard if draw.random() < alpha else easy, tiers, draw)
                    for prompt in batch
                ]

    def _tiers(self, tiers: Sequence[int]) -> tuple[int, int]:
        """The easy and the hard tier. Raises `CptError`."""
        found = sorted(set(tiers))
        easy, hard = self.easy or found[-1], self.hard or found[0]
        for side, tier in (("easy", easy), ("hard", hard)):
            if tier not in found:
                raise cpt.CptError(
                    f"scheduler.{side} is {tier}, but the pairs have {_list(found)}."
                )
        if easy == hard:
            raise cpt.CptError(
                f"scheduler: a curriculum mixes two tiers, but easy and hard are both tier {easy} "
                f"(the pairs have {_list(found)}); take `shuffle`, or `staged` by margin."
            )
        return easy, hard

    def _alpha(self, step: int, steps: int) -> float:
        """The probability of a hard pair at a step; the first is 0."""
        grown = step / max(1, steps - 1)
        share = grown if self.alpha is None else self.alpha
        return 1 - share if self.reverse else share


@attrs.frozen
class Staged(cpt.Scheduler):
    """Every pair once an epoch, the easiest first, stage by stage."""

    name = "staged"
    by: Literal["tier", "margin"] = "tier"
    """What a pair is ordered by: its tier, in random order within each, or its margin."""
    reverse: bool = False
    """Begin with the hardest instead."""

    def batches(
        self, pairs: Sequence[cpt.Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        ease = [_tier(pair) if self.by == "tier" else _margin(pair) for pair in pairs]
        draw = Random(seed)
        for _ in range(epochs):
            order = shuffled(range(len(pairs)), draw)
            order.sort(key=ease.__getitem__, reverse=not self.reverse)
            yield from cut(order, size)


def _read(pairs: Sequence[cpt.Pair]) -> tuple[list[list[int]], list[int]]:
    """The indices of each prompt's pairs, and the tier of each pair."""
    found: dict[str, list[int]] = defaultdict(list)
    tiers: list[int] = []
    for index, pair in enumerate(pairs):  # once: they may be on the disk
        found[pair.prompt.id].append(index)
        tiers.append(_tier(pair))
    return list(found.values()), tiers


def _drawn(indices: Sequence[int], tier: int, tiers: Sequence[int], draw: Random) -> int:
    """One of these pairs, from the tier nearest to `tier`."""
    distance = min(abs(tiers[index] - tier) for index in indices)
    nearest = [index for index in indices if abs(tiers[index] - tier) == distance]
    return draw.choice(nearest)


def _tier(pair: cpt.Pair) -> int:
    if pair.tier > 0:
        return pair.tier
    raise cpt.CptError(
        f"scheduler: pair {pair.id!r} has no tier; take `shuffle`, or `staged` by margin, "
        "or pairs of a ladder."
    )


def _margin(pair: cpt.Pair) -> float:
    if pair.margin is not None:
        return pair.margin
    raise cpt.CptError(f"scheduler: pair {pair.id!r} has no margin; take `shuffle`.")


def _list(tiers: Sequence[int]) -> str:
    numbers = ", ".join(map(str, tiers))
    return f"tiers {numbers}" if len(tiers) > 1 else f"only tier {numbers}"
