"""Losses anchored to the reference: each side moves by itself, or one against the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs.validators import ge, gt

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
    suits = "better"
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
    suits = "worse"
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: a larger one keeps the model nearer to the reference."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        chosen = (self.beta * batch.chosen.ratio).sigmoid()
        apart = (self.beta * (batch.chosen.ratio - batch.rejected.ratio)).sigmoid()
        return chosen - apart


@attrs.frozen
class ApoHingeZero(cpt.Loss):
    """As `apo_zero`, with hinges: an answer that has moved far enough no longer counts.

    max(0, 1 - r_w) + max(0, 1 + r_l) with r = beta log(pi(y|x) / pi_ref(y|x)). Derived from the
    abstract of arXiv 2508.08466 (hinges in `apo_zero`, so that hard examples alone count), not from
    its equation, which could not be read; the code that its authors published lacks the loss.
    """

    name = "apo_hinge_zero"
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: an answer counts until it is 1 / beta nats away."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        chosen, rejected = self.reward(batch.chosen), self.reward(batch.rejected)
        return (1 - chosen).relu() + (1 + rejected).relu()


@attrs.frozen
class ApoZeroUnpaired(cpt.Loss):
    """As `apo_zero`, for single answers as well: each is good or bad by itself.

    -lambda_D sigmoid(r_w) of a good answer, lambda_U sigmoid(r_l) of a bad one: TRL's form for
    unpaired data, without the 1 that it adds for a good one. Cheaper than `kto`, as no divergence
    is estimated.
    """

    name = "apo_zero_unpaired"
    unpaired = True
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: a larger one keeps the model nearer to the reference."""
    desirable_weight: float = attrs.field(default=1.0, validator=ge(0.0))
    """Weight of good answers."""
    undesirable_weight: float = attrs.field(default=1.0, validator=ge(0.0))
    """Weight of bad answers."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        good = self.reward(batch.chosen).sigmoid() * batch.chosen.present
        bad = self.reward(batch.rejected).sigmoid() * batch.rejected.present
        return self.undesirable_weight * bad - self.desirable_weight * good
