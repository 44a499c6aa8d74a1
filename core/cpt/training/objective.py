"""The loss of some pairs of a step, and the metrics that fall out of it."""

from __future__ import annotations

import torch
from torch import Tensor

from cpt.errors import CptError, during
from cpt.roles import Loss
from cpt.training import metrics
from cpt.training.state import State
from cpt.training.step import Part, batch_of, weights
from cpt.types import Batch, Logps

STALE = 0.2
"""Nats a token by which rounding, in bf16 too, never moves the mean."""


def weighted_losses(
    state: State, part: Part, mismatched: Logps | None, *, counts: bool = True
) -> Tensor:
    """The loss of each pair times its weight, metered if it `counts`. Shape (pairs,)."""
    plan, accelerator = state.plan, state.accelerator
    micro = part.micro.to(accelerator.device)
    with accelerator.autocast():
        flat: Tensor = state.module(micro)
    pairs = [plan.corpus.pairs[place] for place in part.pairs]
    batch = batch_of(
        part,
        flat,
        _reference(state, part, flat),
        plan.corpus,
        plan.loss,
        progress=state.done / max(1, plan.steps - 1),
        mismatched=mismatched,
    )
    losses = _checked(plan.loss, batch, len(pairs)) * weights(pairs, flat.device)
    values = metrics.per_pair(losses.detach(), batch, plan.loss)
    state.meter.add({name: each * counts for name, each in values.items()})
    rows = [plan.corpus.sequences[place] for place in part.sequences]
    state.meter.count(
        pairs=counts * len(pairs),
        tokens=counts * sum(row.inputs for row in rows),
        read=counts * (micro.size if part.micro.mask is None else int(part.micro.mask.sum())),
        slots=counts * micro.size,
    )
    return losses


def mismatched_logps(state: State) -> Logps | None:
    """Each prompt of the step with another's answer, if the loss needs it.

    The same on every process and for every part, so that an estimate made of it does not depend
    on how the step is cut. Shape (batch,).
    """
    if "mismatched" not in state.plan.loss.needs:
        return None
    accelerator, sequences = state.accelerator, state.plan.corpus.sequences
    places = state.plan.mismatched[state.done]
    mine = range(accelerator.process_index, len(places), accelerator.num_processes)
    scored = state.scorer.score([sequences[places[at]] for at in mine], sequences[places[0]])
    sums = torch.zeros(len(places))
    sums[list(mine)] = torch.tensor([float(values.sum()) for values in scored])
    policy: Tensor = accelerator.reduce(sums.to(accelerator.device))
    reference = None
    if state.references is not None:
        kept = [state.references.sum(place) for place in places]
        reference = torch.tensor(kept, device=accelerator.device)
    lengths = [len(sequences[place].answer) for place in places]
    return Logps(
        policy=policy,
        length=torch.tensor(lengths, device=accelerator.device),
        reference=policy if reference is not None and state.policy_is_reference else reference,
    )


def _reference(state: State, part: Part, flat: Tensor) -> Tensor | None:
    """Log-probabilities under the reference, token by token like `flat`."""
    if state.references is None:
        return None
    kept = state.references.flat(part.sequences, flat.device)
    if not state.policy_is_reference:
        return kept
    # Two layouts of the same rows round differently; here policy and reference are one model.
    policy = flat.detach()
    if (apart := float((policy - kept).abs().mean())) > STALE:
        raise CptError(
            f"The reference log-probabilities are not those of {state.plan.reference} (off by "
            f"{apart:.2g} a token); delete the folders `reference` of the run and of the cache."
        )
    return policy


def _checked(loss: Loss, batch: Batch, pairs: int) -> Tensor:
    with during(f"the loss {loss.name!r} was computed"):
        losses = loss(batch)
    if not isinstance(losses, Tensor) or losses.shape != (pairs,):
        is_tensor = isinstance(losses, Tensor)
        found = f"shape {tuple(losses.shape)}" if is_tensor else type(losses).__name__
        raise CptError(
            f"Loss {loss.name!r} returned {found} for {pairs} pairs; "
            f"it must return one number for each: a tensor of shape ({pairs},)."
        )
    if not losses.requires_grad:
        raise CptError(
            f"Loss {loss.name!r} has no gradient: it does not depend on batch.chosen.policy or "
            "batch.rejected.policy, or was detached from them, so nothing could be learned."
        )
    return losses
