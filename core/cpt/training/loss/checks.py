"""A loss is called, and what it returns is checked: it may be anyone's."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite, nan
from typing import Any

import torch
from torch import Tensor

from cpt.errors import CptError, during
from cpt.roles import Loss
from cpt.roles.loss import problem_of_needs
from cpt.roles.weighted_sum import WeightedSum
from cpt.types import Batch


def refuse_wrong_needs(loss: Loss) -> None:
    """Raise `CptError` if `loss.needs` is not a set of words that are known."""
    if problem := problem_of_needs(loss.needs):
        raise CptError(f"Loss {loss.name!r}: {problem}")


def losses_of(loss: Loss, batch: Batch) -> Tensor:
    """The loss of each pair. Shape (pairs,). Raises `CptError` for anything else."""
    with during(f"the loss {loss.name!r} was computed"), torch.enable_grad():
        losses = loss(batch)
    if found := _not_per_pair(losses, batch):
        raise CptError(
            f"Loss {loss.name!r} returned {found} for {len(batch.ids)} pairs; "
            f"it must return one number for each: a tensor of shape ({len(batch.ids)},)."
        )
    if not losses.requires_grad:
        raise CptError(
            f"Loss {loss.name!r} has no gradient: it does not depend on batch.chosen.policy or "
            "batch.rejected.policy, or was detached from them, so nothing could be learned."
        )
    return losses


@torch.no_grad()
def metrics_of(loss: Loss, batch: Batch) -> dict[str, Tensor]:
    """The loss's own metrics of each pair, as `LOSS/NAME`. Raises `CptError` if they are wrong."""
    with during(f"the metrics of the loss {loss.name!r} were computed"):
        found: Any = loss.metrics(batch)
    if not isinstance(found, Mapping):
        raise CptError(
            f"Loss {loss.name!r} returned {_named(found)} as its metrics; "
            "`metrics` must return a dict of tensors by name."
        )
    # The parts of a sum are named already, as they are without the sum.
    prefix = "" if isinstance(loss, WeightedSum) else f"{loss.name}/"
    return {
        f"{prefix}{name}": _checked_metric(loss, name, found[name], batch)
        for name in sorted(found, key=str)
    }


def carried_of(
    loss: Loss, before: Mapping[str, float], means: Mapping[str, float]
) -> dict[str, float]:
    """What the loss carries to the next step. `means` is by `LOSS/NAME`. Raises `CptError`."""
    prefix = "" if isinstance(loss, WeightedSum) else f"{loss.name}/"
    own = {name.removeprefix(prefix): value for name, value in means.items()}
    with during(f"the loss {loss.name!r} carried over a step"):
        found: Any = loss.carry(before, own)
    try:
        carried = {str(name): float(value) for name, value in dict(found).items()}
    except (TypeError, ValueError):
        carried = {"": nan}
    if not all(map(isfinite, carried.values())):
        raise CptError(
            f"Loss {loss.name!r} carries {found!r:.80}; `carry` must return finite numbers by name."
        )
    return carried


def _checked_metric(loss: Loss, name: Any, values: Any, batch: Batch) -> Tensor:
    if not isinstance(name, str) or not name or any(letter.isspace() for letter in name):
        raise CptError(
            f"Loss {loss.name!r} has a metric called {name!r}: a name is a text without blanks."
        )
    if problem := _not_per_pair(values, batch):
        raise CptError(
            f"Metric {name!r} of loss {loss.name!r} is {problem} for {len(batch.ids)} pairs; "
            f"it must be one number for each: a tensor of shape ({len(batch.ids)},)."
        )
    checked: Tensor = values.detach().to(batch.chosen.policy.device, torch.float32)
    return checked


def refuse_mixing(loss: Loss, batch: Batch) -> None:
    """Raise `CptError` if what a loss says of a pair depends on the other pairs in the batch.

    Computed for some pairs, and again for half of them. The pairs must differ.
    """
    half = slice(0, len(batch.ids) // 2)
    if not len(batch.ids[half]):
        return
    whole, part = _all_of(loss, batch), _all_of(loss, batch.select(half))
    for what, values in part.items():
        if not torch.allclose(whole[what][half], values, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise CptError(
                f"Loss {loss.name!r} mixes pairs: its {what} for the same pairs changes with the "
                "other pairs in the batch, so it would depend on how a step is cut. Compute it "
                "from each pair alone; `batch.mismatched` has values of the whole step."
            )


def refuse_own_gradient(loss: Loss, logps: Tensor) -> None:
    """Raise `CptError` if a loss that was computed from `logps` has added to their gradient.

    It would count twice, and the step would be wrong without a word.
    """
    if logps.grad is not None:
        raise CptError(
            f"Loss {loss.name!r} computes gradients itself; it must only return the loss of each "
            "pair, without calling backward()."
        )


def _all_of(loss: Loss, batch: Batch) -> dict[str, Tensor]:
    own = {f"metric {name!r}": values for name, values in metrics_of(loss, batch).items()}
    return {"value": losses_of(loss, batch).detach(), **own}


def _not_per_pair(values: Any, batch: Batch) -> str:
    """What was returned, if it is not a tensor with one number for each pair."""
    is_right = isinstance(values, Tensor) and values.shape == (len(batch.ids),)
    return "" if is_right and not values.is_complex() else _named(values)


def _named(value: Any) -> str:
    if not isinstance(value, Tensor):
        return type(value).__name__
    kind = "complex numbers of " if value.is_complex() else ""
    return f"{kind}shape {tuple(value.shape)}"
