"""Measuring a training on held-out pairs: the same metrics, without learning from them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from cpt.training.data.inputs import ModelInputs
from cpt.training.loss import metrics
from cpt.training.loss.carried import Carried
from cpt.training.objective import mismatched_logps, weighted_losses
from cpt.training.planning.plan import Plan
from cpt.training.reference.scoring import Scorer, max_over_processes
from cpt.training.state import State
from cpt.training.step import MicroBatch, group_by_prompt, micro_batches, split_between_processes

PREFIX = "eval/"
COSTS = ("grad_norm", "padding", "tokens_per_second")
"""Metrics of how a step was computed, which say nothing here."""


@attrs.frozen(eq=False)
class Frozen:
    """The model without gradient: a loss that insists on one gets that of its inputs."""

    scorer: Scorer

    def __call__(self, inputs: ModelInputs) -> Tensor:
        with torch.no_grad():
            flat: Tensor = self.scorer.module(inputs)
        return flat.requires_grad_()


def measure(state: State, held_out: Plan) -> dict[str, float]:
    """The mean of every metric of the training over the held-out pairs, as `eval/NAME`.

    Every process calls this. Nothing of `state` changes.
    """
    watched = attrs.evolve(
        state,
        plan=held_out,
        references=state.held_out_references,
        wrapped_module=Frozen(state.scorer),
        meter=metrics.Meter(),
        carried=Carried(dict(state.carried.values)),
        independence_tried=True,
    )
    mismatched = mismatched_logps(watched)
    local, filler = shared(watched, held_out.order[0])
    for number in range(max_over_processes(state.accelerator, len(local))):
        extra = number >= len(local)
        micro_batch = filler if extra else local[number]
        weighted_losses(watched, micro_batch, mismatched, is_filler=extra)
    watched.meter.count(steps=1, grad_norms=0.0, seconds=1.0)
    means = watched.meter.means(state.accelerator)
    return {f"{PREFIX}{name}": value for name, value in means.items() if name not in COSTS}


def shared(state: State, pairs: Sequence[int]) -> tuple[list[MicroBatch], MicroBatch]:
    """The micro-batches of this process, and one to compute with where others have more."""
    corpus, layout, size = state.plan.corpus, state.layout, state.max_tokens
    groups = group_by_prompt(pairs, corpus, state.plan.loss, size, layout)
    shares = split_between_processes(groups, corpus, state.accelerator.num_processes)
    mine: Sequence[Any] = shares[state.accelerator.process_index]
    return (
        micro_batches(mine, corpus, size, layout),
        micro_batches(groups[:1], corpus, size, layout)[0],
    )
