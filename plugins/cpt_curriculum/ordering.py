"""Pairs in the order of a number that each has, or of their place among their prompt's pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random

import attrs
from attrs.validators import and_, gt, le

import cpt
from cpt_curriculum.batches import cut, shuffled

KEYS = ("tier", "margin", "chosen_score", "rejected_score", "length_ratio", "prompt_length")
"""What `sorted` knows; `info.NAME` is a number in the pair's `info`."""


@attrs.frozen
class Sorted(cpt.Scheduler):
    """Every pair once an epoch, in the order of a number: the largest first.

    With `tier` and `margin` these are the easiest. `keep` leaves the others out. Selective DPO
    (arXiv 2502.09650) keeps the half with the smallest held-out loss: with that in a column, say
    `held_out_loss`, it is `by=info.held_out_loss`, `reverse` and `keep=0.5`.
    """

    name = "sorted"
    by: str = "margin"
    """tier, margin, chosen_score, rejected_score, length_ratio, prompt_length, or info.NAME."""
    reverse: bool = False
    """The smallest first instead."""
    keep: float = attrs.field(default=1.0, validator=and_(gt(0.0), le(1.0)))
    """The share of the pairs that is trained on: those that come first."""

    def check(self) -> None:
        if self.by not in KEYS and not self.by.startswith("info."):
            raise cpt.CptError(
                f"scheduler.by is {self.by!r}: give {', '.join(KEYS)}, or info.NAME for a number "
                "in the info of the pairs."
            )

    def batches(
        self, pairs: Sequence[cpt.Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        numbers = [self._number(pair) for pair in pairs]
        draw = Random(seed)
        for _ in range(epochs):
            order = shuffled(range(len(pairs)), draw)  # equal numbers come in random order
            order.sort(key=numbers.__getitem__, reverse=not self.reverse)
            yield from cut(order[: round(self.keep * len(order)) or 1], size)

    def _number(self, pair: cpt.Pair) -> float:
        if self.by.startswith("info."):
            found = pair.info.get(self.by.removeprefix("info."))
        else:
            found = _known(pair, self.by)
        if isinstance(found, int | float) and not isinstance(found, bool) and found == found:
            return found
        raise cpt.CptError(f"scheduler: pair {pair.id!r} has no {self.by}; it has {found!r:.60}.")


def _known(pair: cpt.Pair, by: str) -> float | None:
    if by == "tier":
        return pair.tier or None  # 0 is unknown
    if by == "length_ratio":
        return len(pair.chosen.text) / max(1, len(pair.rejected.text))
    if by == "prompt_length":
        return len(pair.prompt.text)
    found: float | None = getattr(pair, by)
    return found


@attrs.frozen
class CurriDpo(cpt.PhasedScheduler):
    """The pair with the widest gap of every prompt first, then the next one, stage by stage.

    Curri-DPO (arXiv 2403.07230): of ranked answers, (first, last) of each prompt, then closer
    pairs. The gap is the margin, or the tier where there is none. Each stage has the model of the
    stage before as its reference; the learning rate continues over all of them.
    """

    name = "curri_dpo"
    refresh: bool = True
    """Renew the reference for each stage; otherwise it stays the first one."""

    def phases(self, pairs: Sequence[cpt.Pair], size: int, epochs: int) -> Sequence[cpt.Phase]:
        ends = [-(-count // size) for count in accumulate(map(len, _stages(pairs)))]
        stages = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        steps = [count for _ in range(epochs) for count in stages if count]
        return [
            cpt.Phase(steps=count, refresh=self.refresh and number > 0)
            for number, count in enumerate(steps)
        ]

    def ordered(
        self,
        pairs: Sequence[cpt.Pair],
        size: int,
        seed: int,
        epochs: int,
        scores: Sequence[Sequence[float]],
    ) -> Iterator[Sequence[int]]:
        stages = _stages(pairs)
        draw = Random(seed)
        for _ in range(epochs):
            yield from cut([pair for stage in stages for pair in shuffled(stage, draw)], size)


def _stages(pairs: Sequence[cpt.Pair]) -> list[list[int]]:
    """The pairs by their rank among those of their prompt, the widest gap first."""
    by_prompt: dict[str, list[int]] = defaultdict(list)
    gaps: list[float] = []
    for index, pair in enumerate(pairs):  # once: they may be on the disk
        by_prompt[pair.prompt.id].append(index)
        gaps.append(_gap(pair))
    stages: dict[int, list[int]] = defaultdict(list)
    for indices in by_prompt.values():
        widest = sorted(indices, key=lambda index: -gaps[index])
        for rank, index in enumerate(widest):
            stages[rank].append(index)
    return [stages[rank] for rank in sorted(stages)]


def _gap(pair: cpt.Pair) -> float:
    if pair.margin is not None:
        return pair.margin
    if pair.tier:
        return pair.tier
    raise cpt.CptError(
        f"scheduler: pair {pair.id!r} has neither margin nor tier; take `shuffle`, or give margins."
    )
