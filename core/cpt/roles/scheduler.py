"""Schedulers order pairs into a curriculum."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence

import attrs

from cpt.roles.component import Component
from cpt.types import Pair


@attrs.frozen
class Scheduler(Component):
    """Decides which pairs are trained on, and in which order."""

    role = "scheduler"

    @abstractmethod
    def batches(
        self, pairs: Sequence[Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        """Yield the batches of a whole training, each as whole numbers that index `pairs`.

        The same arguments yield the same batches: a resumed run skips those it has done. Every
        batch but the last of an epoch has `size` indices, and none is empty. Core refuses an
        order that breaks this. Many pairs are on the disk: go through them in order and note what
        you need of each, as one here and one there takes a thousand times as long.
        """


@attrs.frozen(kw_only=True)
class Phase:
    """A part of a training that begins with a look at the model as it then is."""

    steps: int
    """Optimizer steps, at least one."""
    score: str = ""
    """The metric that every pair is then measured by, such as `rewards/margins`; empty: none."""
    refresh: bool = False
    """Whether the model as it then is becomes the reference, where the loss has one."""


@attrs.frozen
class PhasedScheduler(Scheduler):
    """Decides as training goes, phase by phase: by what the model makes of the pairs by then."""

    @abstractmethod
    def phases(self, pairs: Sequence[Pair], size: int, epochs: int) -> Sequence[Phase]:
        """Return the phases of a whole training; their steps add up to all batches of it."""

    @abstractmethod
    def ordered(
        self,
        pairs: Sequence[Pair],
        size: int,
        seed: int,
        epochs: int,
        scores: Sequence[Sequence[float]],
    ) -> Iterator[Sequence[int]]:
        """Yield the batches of a whole training, as `batches` does, given what was measured.

        `scores` has for each phase one number for each pair, all 0 in a phase that has not begun
        or does not ask for any. What is trained on before a phase must not depend on the scores
        of that phase or of a later one: it is asked again when each phase begins.
        """

    def batches(
        self, pairs: Sequence[Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        """Yield the batches if all pairs were alike to the model, as an estimate needs them."""
        phases = self.phases(pairs, size, epochs)
        return self.ordered(pairs, size, seed, epochs, [[0.0] * len(pairs) for _ in phases])
