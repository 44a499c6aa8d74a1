"""Orders that follow the model: what is easy for it is measured as training goes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Literal

import attrs
from attrs.validators import and_, ge, gt, le, lt

import cpt
from cpt_curriculum.batches import cut, shuffled

METRICS = {"margin": "rewards/margins", "loss": "loss"}
By = Literal["margin", "loss"]


@attrs.frozen
class SelfPaced(cpt.PhasedScheduler):
    """Every pair once an epoch, what is easiest for the model by then first.

    Before each part of an epoch the pairs that are left are ordered again, by the margin r_w - r_l
    of the model's own implicit reward: self-paced learning (Kumar et al., NeurIPS 2010) with the
    reward as the measure of ease. The first part is in random order, as nothing is learned yet.
    """

    name = "self_paced"
    parts: int = attrs.field(default=4, validator=ge(2))
    """Parts of an epoch; all between the first and the last begin with a pass over all pairs."""
    by: By = "margin"
    """What is easy: a large margin of the rewards, or a small loss."""
    reverse: bool = False
    """The hardest first instead."""

    def phases(self, pairs: Sequence[cpt.Pair], size: int, epochs: int) -> Sequence[cpt.Phase]:
        steps = list(_parts(-(-len(pairs) // size), self.parts))
        return [
            cpt.Phase(steps=count, score=METRICS[self.by] if measured else "")
            for epoch in range(epochs)
            for part, count in enumerate(steps)
            # The last part leaves nothing to choose.
            for measured in [epoch > 0 if part == 0 else part < len(steps) - 1]
        ]

    def ordered(
        self,
        pairs: Sequence[cpt.Pair],
        size: int,
        seed: int,
        epochs: int,
        scores: Sequence[Sequence[float]],
    ) -> Iterator[Sequence[int]]:
        draw, latest = Random(seed), [0.0] * len(pairs)
        left: list[int] = []
        for phase, measured in zip(self.phases(pairs, size, epochs), scores, strict=True):
            left = left or shuffled(range(len(pairs)), draw)
            latest = list(measured) if phase.score else latest
            left.sort(key=latest.__getitem__, reverse=_descends(self.by, self.reverse))
            taken, left = left[: phase.steps * size], left[phase.steps * size :]
            yield from cut(taken, size)


@attrs.frozen
class Selective(cpt.PhasedScheduler):
    """The easiest pairs by held-out loss, after a random part that teaches what is easy.

    The model trains on a random share of the pairs, measures the others, which it has never seen,
    and trains on the easiest of these, from easy to hard. Selective DPO (arXiv 2502.09650)
    has models of its own measure the loss, each trained on another half; with such losses in a
    column, take `sorted`.
    """

    name = "selective"
    probe: float = attrs.field(default=0.2, validator=and_(gt(0.0), lt(1.0)))
    """The share of the pairs that is trained on first, in random order."""
    keep: float = attrs.field(default=0.5, validator=and_(gt(0.0), le(1.0)))
    """The share of the other pairs that is trained on then; later epochs repeat these alone."""
    by: By = "loss"
    """What is easy: a small loss, or a large margin of the model's own rewards."""

    def phases(self, pairs: Sequence[cpt.Pair], size: int, epochs: int) -> Sequence[cpt.Phase]:
        if not pairs:
            return []
        probe, kept = self._counts(len(pairs), size)
        return [
            cpt.Phase(steps=probe),
            cpt.Phase(steps=epochs * -(-kept // size), score=METRICS[self.by]),
        ]

    def ordered(
        self,
        pairs: Sequence[cpt.Pair],
        size: int,
        seed: int,
        epochs: int,
        scores: Sequence[Sequence[float]],
    ) -> Iterator[Sequence[int]]:
        if not pairs:
            return
        probe, kept = self._counts(len(pairs), size)
        order = shuffled(range(len(pairs)), Random(seed))
        yield from cut(order[: probe * size], size)
        unseen = order[probe * size :]
        unseen.sort(key=scores[1].__getitem__, reverse=_descends(self.by))
        for _ in range(epochs):
            yield from cut(unseen[:kept], size)

    def _counts(self, pairs: int, size: int) -> tuple[int, int]:
        """Steps of the first part, and the pairs that are kept of the others."""
        if pairs <= size:
            raise cpt.CptError(
                f"scheduler: selective measures pairs that were not in the first batch, but there "
                f"are {pairs}, and train.batch_size is {size}; take a smaller one."
            )
        probe = min(max(1, round(self.probe * pairs / size)), (pairs - 1) // size)
        return probe, max(1, round(self.keep * (pairs - probe * size)))


def _parts(steps: int, parts: int) -> Iterator[int]:
    """So many steps in parts of nearly equal length, none of them empty."""
    ends = [round(steps * part / parts) for part in range(parts + 1)]
    return (end - begin for begin, end in pairwise(ends) if end > begin)


def _descends(by: By, reverse: bool = False) -> bool:
    """Whether the largest number comes first."""
    return (by == "margin") != reverse
