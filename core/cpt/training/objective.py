"""The loss of the pairs of a micro-batch, and the metrics that are computed with it."""

from __future__ import annotations

import torch
from torch import Tensor

from cpt.errors import CptError
from cpt.training.loss import checks, metrics
from cpt.training.state import State
from cpt.training.step import MicroBatch, batch_of, pair_weights
from cpt.types import Batch, Logps

LARGEST_ROUNDING = 0.2
"""Nats a token, above any mean difference that rounding makes, in bf16 too."""


def weighted_losses(
    state: State, micro_batch: MicroBatch, mismatched: Logps | None, *, is_filler: bool = False
) -> Tensor:
    """The loss of each pair times its weight, metered unless it `is_filler`. Shape (pairs,)."""
    plan, accelerator = state.plan, state.accelerator
    inputs = micro_batch.inputs.to(accelerator.device)
    with accelerator.autocast():
        flat: Tensor = state.wrapped_module(inputs)
    reference = _reference(state, micro_batch, flat)

    def batch_with(flat: Tensor) -> Batch:
        return batch_of(
            micro_batch,
            flat,
            reference,
            plan.corpus,
            plan.loss,
            progress=state.done / max(1, plan.steps - 1),
            carried=state.carried.values,
            mismatched=mismatched,
        )

    batch = batch_with(flat)
    if not state.independence_tried and len(batch.ids) > 1:
        state.independence_tried = True
        apart = _moved_apart(flat)
        checks.refuse_mixing(plan.loss, batch_with(apart))
        checks.refuse_own_gradient(plan.loss, apart)
    weights = pair_weights(micro_batch.pairs, plan.corpus, flat.device)
    losses = checks.losses_of(plan.loss, batch) * weights
    own = _own_metrics(state, batch)
    values = metrics.per_pair(losses.detach(), batch, plan.loss) | own
    counted = not is_filler
    state.carried.add(plan.loss, own, counted=counted)
    state.meter.add({name: numbers * counted for name, numbers in values.items()})
    sequences = [plan.corpus.sequences[index] for index in micro_batch.sequences]
    state.meter.count(
        pairs=counted * len(micro_batch.pairs),
        tokens=counted * sum(sequence.input_length for sequence in sequences),
        read=counted * micro_batch.inputs.tokens,
        slots=counted * inputs.size,
    )
    return losses


def router_loss(state: State, micro_batch: MicroBatch, *, is_filler: bool = False) -> Tensor | None:
    """What the router's load-balancing loss adds for each token read, times the tokens; metered.

    Of the call before. A scalar; None if nothing is added to the loss.
    """
    weight = state.plan.options.router_aux_loss
    if weight is None:
        return None
    tokens = 0 if is_filler else micro_batch.inputs.tokens
    routing = state.scorer.module.routing()
    values = (routing.aux_loss.detach() * tokens, routing.load_max * tokens)
    state.meter.add(dict(zip(metrics.ROUTING, values, strict=True)))
    return routing.aux_loss * (weight * tokens) if weight else None


def mismatched_logps(state: State) -> Logps | None:
    """Each prompt of the step with another's answer, if the loss needs it. Shape (step,).

    The same on every process and for every micro-batch, so that an estimate made of it does not
    depend on how the step is cut.
    """
    if "mismatched" not in state.plan.loss.needs:
        return None
    accelerator, sequences = state.accelerator, state.plan.corpus.sequences
    indices = state.plan.mismatched[state.done]
    mine = range(accelerator.process_index, len(indices), accelerator.num_processes)
    scored = state.scorer.score(
        [sequences[indices[number]] for number in mine], sequences[indices[0]]
    )
    sums = torch.zeros(len(indices))
    sums[list(mine)] = torch.tensor([float(values.sum()) for values in scored])
    policy: Tensor = accelerator.reduce(sums.to(accelerator.device))
    reference = None
    if state.references is not None:
        kept = [state.references.sum(index) for index in indices]
        reference = torch.tensor(kept, device=accelerator.device)
    lengths = [len(sequences[index].answer) for index in indices]
    return Logps(
        policy=policy,
        length=torch.tensor(lengths, device=accelerator.device),
        reference=policy if reference is not None and state.policy_is_reference else reference,
    )


def _reference(state: State, micro_batch: MicroBatch, flat: Tensor) -> Tensor | None:
    """Log-probabilities under the reference, token by token like `flat`."""
    if state.references is None:
        return None
    kept = state.references.flat(micro_batch.sequences, flat.device)
    if not state.policy_is_reference:
        return kept
    # Two layouts of the same sequences round differently; here policy and reference are one model.
    policy = flat.detach()
    if (difference := float((policy - kept).abs().mean())) > LARGEST_ROUNDING:
        raise CptError(
            f"The reference log-probabilities are not those of {state.plan.reference} (off by "
            f"{difference:.2g} a token); delete the folders `reference` of the run and of the "
            "cache."
        )
    return policy


def _moved_apart(flat: Tensor) -> Tensor:
    """Log-probabilities that differ from pair to pair, of the same shape.

    At the first step all log-ratios are 0, and a loss that mixes equal pairs does not show it.
    """
    return (
        flat.detach() - torch.linspace(0.0, 0.1, len(flat), device=flat.device)
    ).requires_grad_()


def _own_metrics(state: State, batch: Batch) -> dict[str, Tensor]:
    """The loss's own metrics, of the same names for every micro-batch."""
    values = checks.metrics_of(state.plan.loss, batch)
    if state.own_metrics is None:
        state.own_metrics = tuple(values)
    if tuple(values) != state.own_metrics:
        raise CptError(
            f"Loss {state.plan.loss.name!r} returned the metrics {', '.join(values) or 'none'} "
            f"after {', '.join(state.own_metrics) or 'none'}; the names must not change."
        )
    return values
