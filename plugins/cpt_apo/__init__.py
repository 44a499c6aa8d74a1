"""Anchored preference optimization (D'Oosterlinck et al., arXiv 2408.06266)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs.validators import gt

import cpt

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class ApoZero(cpt.Loss):
    """Raise the chosen and lower the rejected, each by itself, against the reference.

    -sigmoid(r_w) + sigmoid(r_l) with r = beta log(pi(y|x) / pi_ref(y|x)): equation 7. For chosen
    answers better than the model's own. TRL adds 1 to it, which changes no gradient.
    """

    name = "apo_zero"
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: a larger one keeps the model nearer to the reference."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        chosen = (self.beta * batch.chosen.ratio).sigmoid()
        rejected = (self.beta * batch.rejected.ratio).sigmoid()
        return -chosen + rejected


@attrs.frozen
class ApoDown(cpt.Loss):
    """Lower the chosen a little and the rejected more, against the reference.

    sigmoid(r_w) - sigmoid(r_w - r_l) with r = beta log(pi(y|x) / pi_ref(y|x)): equation 8. For a
    model better than the chosen answers. TRL adds 1 to it, which changes no gradient.
    """

    name = "apo_down"
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: a larger one keeps the model nearer to the reference."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        chosen = (self.beta * batch.chosen.ratio).sigmoid()
        apart = (self.beta * (batch.chosen.ratio - batch.rejected.ratio)).sigmoid()
        return chosen - apart


@cpt.hookimpl
def cpt_losses() -> list[type[cpt.Loss]]:
    return [ApoZero, ApoDown]
