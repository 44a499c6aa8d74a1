"""What a loss carries from one optimizer step to the next, such as a running mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from cpt.roles import Loss
from cpt.roles.weighted_sum import WeightedSum
from cpt.training.loss import checks


@attrs.define(eq=False)
class Carried:
    """The values of `Batch.carried`, the same on every process, and what makes the next ones."""

    values: dict[str, float] = attrs.field(factory=dict)
    _sums: list[Tensor] = attrs.field(factory=list)
    """For each micro-batch the sum of each metric of the loss, and the number of pairs."""

    def add(self, loss: Loss, own: Mapping[str, Tensor], *, counted: bool) -> None:
        """Take note of a micro-batch, given the loss's own metrics of each of its pairs."""
        if own and carries(loss):
            sums = [values.sum() for values in own.values()]
            pairs = torch.full_like(sums[0], len(next(iter(own.values()))))
            self._sums.append(torch.stack([*sums, pairs]) * counted)

    def step(self, loss: Loss, names: tuple[str, ...], accelerator: Any) -> None:
        """The step is over. Every process calls this. Raises `CptError` for what is no number."""
        if not carries(loss):
            return
        *sums, pairs = accelerator.reduce(torch.stack(self._sums).sum(0)).tolist()
        self._sums = []
        means = {name: total / pairs for name, total in zip(names, sums, strict=True)}
        self.values = checks.carried_of(loss, self.values, means)


def carries(loss: Loss) -> bool:
    """Whether a loss carries anything, which costs a look at the device after each step."""
    parts = loss.parts.values() if isinstance(loss, WeightedSum) else [loss]
    return any(type(part).carry is not Loss.carry for part in parts)
