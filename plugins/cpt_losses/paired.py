"""What the losses of the DPO family share: a gap between two rewards, less a margin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs.validators import ge, gt

import cpt

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class Paired(cpt.Loss):
    """The base of losses that depend on r_w - r_l, where r = beta log(pi(y|x) / pi_ref(y|x))."""

    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the gap counts: a larger one keeps the model nearer to the reference."""
    margin: float = attrs.field(default=0.0, validator=ge(0.0))
    """Gap of rewards asked for by each unit of `Pair.margin` (ODPO, 2402.10571); unknown asks 0."""

    def gap(self, batch: cpt.Batch) -> Tensor:
        """r_w - r_l, less what the pair's margin asks for. Shape (pairs,)."""
        ratios = batch.chosen.ratio - batch.rejected.ratio
        return self.less_margin(self.beta * ratios, batch)

    def less_margin(self, gap: Tensor, batch: cpt.Batch) -> Tensor:
        """A gap of rewards, less what the pair's margin asks for. Shape (pairs,)."""
        return gap - self.margin * batch.margin.nan_to_num(0.0) if self.margin else gap
