"""Direct preference optimization (Rafailov et al., 2023)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs.validators import and_, ge, gt, lt

import cpt

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class Dpo(cpt.Loss):
    """Widen the gap between chosen and rejected, measured against the reference.

    -log sigmoid(r_w - r_l) with r = beta log(pi(y|x) / pi_ref(y|x)): equation 7 of
    arXiv 2305.18290. With label smoothing e it is conservative DPO,
    -(1 - e) log sigmoid(r_w - r_l) - e log sigmoid(r_l - r_w).
    """

    name = "dpo"
    known_as = ("sigmoid",)
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the gap counts: a larger one keeps the model nearer to the reference."""
    label_smoothing: float = attrs.field(default=0.0, validator=and_(ge(0.0), lt(0.5)))
    """The share of pairs believed to be the wrong way round, below 0.5."""
    margin: float = attrs.field(default=0.0, validator=ge(0.0))
    """Gap of rewards asked for by each unit of `Pair.margin` (ODPO, 2402.10571); unknown asks 0."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        gap = self.beta * (batch.chosen.ratio - batch.rejected.ratio)
        if self.margin:
            gap = gap - self.margin * batch.margin.nan_to_num(0.0)
        right, wrong = -logsigmoid(gap), -logsigmoid(-gap)
        return (1 - self.label_smoothing) * right + self.label_smoothing * wrong


@cpt.hookimpl
def cpt_losses() -> list[type[cpt.Loss]]:
    return [Dpo]
