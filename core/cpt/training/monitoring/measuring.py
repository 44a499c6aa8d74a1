"""The pairs of a training measured one by one, as the model is at a step, without learning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from cpt.errors import CptError
from cpt.training.loss.carried import Carried
from cpt.training.loss.metrics import Meter
from cpt.training.monitoring.held_out import Frozen, shared
from cpt.training.objective import weighted_losses
from cpt.training.reference.scoring import max_over_processes
from cpt.training.state import State

AT_ONCE = 1024
"""Pairs that are prepared together: a million of them at once would not fit."""


@attrs.define(eq=False)
class _LastValues(Meter):
    """Keeps the values of the last micro-batch by pair, where a meter keeps sums."""

    last: Mapping[str, Tensor] = attrs.field(factory=dict)

    def add(self, values: Mapping[str, Tensor]) -> None:
        self.last = values

    def count(self, **numbers: float) -> None:
        """Of no interest here."""


def measure_each(state: State, metric: str, pairs: int) -> list[float]:
    """A metric of the first so many pairs, the same on every process, which all call this.

    Nothing of `state` changes. Raises `CptError` for a metric that there is not, or a value that
    is not finite.
    """
    meter = _LastValues()
    watched: Any = attrs.evolve(
        state,
        wrapped_module=Frozen(state.scorer),
        meter=meter,
        carried=Carried(dict(state.carried.values)),
        independence_tried=True,
    )
    accelerator = state.accelerator
    found = torch.zeros(pairs, device=accelerator.device)
    for start in range(0, pairs, AT_ONCE):
        local, filler = shared(watched, range(start, min(start + AT_ONCE, pairs)))
        for number in range(max_over_processes(accelerator, len(local))):
            extra = number >= len(local)
            micro_batch = filler if extra else local[number]
            weighted_losses(watched, micro_batch, None, is_filler=extra)
            if not extra:
                found[list(micro_batch.pairs)] = _metric_of(meter.last, metric, state)
    scores: list[float] = accelerator.reduce(found).tolist()
    _refuse_non_finite(scores, metric, state)
    return scores


def _metric_of(values: Mapping[str, Tensor], metric: str, state: State) -> Tensor:
    if metric not in values:
        raise CptError(
            f"The scheduler {state.plan.scheduler.name!r} orders by {metric!r}, which the loss "
            f"{state.plan.loss.name!r} does not have; it has {', '.join(sorted(values))}."
        )
    return values[metric].float()


def _refuse_non_finite(scores: list[float], metric: str, state: State) -> None:
    broken = [index for index, score in enumerate(scores) if not math.isfinite(score)]
    if broken:
        names = ", ".join(state.plan.corpus.facts[index].id for index in broken[:8])
        raise CptError(
            f"Step {state.done}: {metric} is not finite for {len(broken)} of {len(scores)} pairs "
            f"({names}), so the scheduler {state.plan.scheduler.name!r} cannot order them; drop "
            "them, or lower train.learning_rate."
        )
