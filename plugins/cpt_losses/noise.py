"""Losses for labels that are sometimes wrong: conservative DPO, robust DPO."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs.validators import and_, ge, lt

import cpt
from cpt_losses.paired import Paired

if TYPE_CHECKING:
    from torch import Tensor

BELOW_HALF = and_(ge(0.0), lt(0.5))


@attrs.frozen
class Cdpo(Paired):
    """Conservative DPO: the loss that is expected if a share of the labels is wrong.

    -(1 - e) log sigmoid(r_w - r_l) - e log sigmoid(r_l - r_w): Mitchell (2023), a note on DPO with
    noisy preferences. `dpo` with label smoothing is the same.
    """

    name = "cdpo"
    label_smoothing: float = attrs.field(default=0.1, validator=BELOW_HALF)
    """The share of pairs believed to be the wrong way round (e), below 0.5."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        right, wrong = _both_ways(self.gap(batch))
        return (1 - self.label_smoothing) * right + self.label_smoothing * wrong


@attrs.frozen
class Robust(Paired):
    """Robust DPO: an unbiased estimate of the loss that right labels would give.

    (-(1 - e) log sigmoid(r_w - r_l) + e log sigmoid(r_l - r_w)) / (1 - 2e): arXiv
    2403.00409. It can be negative.
    """

    name = "robust"
    label_smoothing: float = attrs.field(default=0.1, validator=BELOW_HALF)
    """The share of pairs that are the wrong way round (e), below 0.5."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        right, wrong = _both_ways(self.gap(batch))
        mixed = (1 - self.label_smoothing) * right - self.label_smoothing * wrong
        return mixed / (1 - 2 * self.label_smoothing)


def _both_ways(gap: Tensor) -> tuple[Tensor, Tensor]:
    """DPO's loss of each pair as it is labelled, and the other way round."""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(gap), -logsigmoid(-gap)
