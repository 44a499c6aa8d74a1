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
        order that breaks this.
        """
