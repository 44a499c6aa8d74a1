"""Losses that aim at a certain gap and no more: IPO, SPPO, hinge."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
from attrs.validators import gt

import cpt
from cpt_losses.paired import Paired

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class Ipo(cpt.Loss):
    """Bring the gap between both log-ratios to a target, from either side.

    (h_w - h_l - 1 / (2 tau))^2 with h = log(pi(y|x) / pi_ref(y|x)): equation 17 of arXiv
    2310.12036.
    """

    name = "ipo"
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """Tau of the paper: the target is 1 / (2 beta)."""
    over: Literal["sum", "mean"] = "sum"
    """What a log-ratio takes over tokens: their sum, as the paper, or their mean, as TRL."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        gap = self._ratio(batch.chosen) - self._ratio(batch.rejected)
        return (gap - 1 / (2 * self.beta)) ** 2

    def _ratio(self, side: cpt.Logps) -> Tensor:
        return side.ratio if self.over == "sum" else side.ratio / side.length


@attrs.frozen
class Sppo(cpt.Loss):
    """Bring each log-ratio to what the probability of winning asks for.

    (h_w - eta (P - 1/2))^2 + (h_l + eta (P - 1/2))^2 with h = log(pi(y|x) / pi_ref(y|x)),
    eta = 1 / beta and P the probability that y_w wins: equation 4.7 of arXiv 2405.00675.
    """

    name = "sppo"
    known_as = ("sppo_hard",)
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """1 / eta of the paper, which has 0.001."""
    probability: Literal["scores", "hard"] = "scores"
    """P: the sigmoid of the difference of the two scores (1 where unknown), or 1, as in TRL."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        target = (self._probability(batch) - 0.5) / self.beta
        return (batch.chosen.ratio - target) ** 2 + (batch.rejected.ratio + target) ** 2

    def _probability(self, batch: cpt.Batch) -> Tensor:
        """That the chosen answer wins. Shape (pairs,)."""
        found = (batch.chosen_score - batch.rejected_score).sigmoid().nan_to_num(1.0)
        return found if self.probability == "scores" else found.new_ones(found.shape)


@attrs.frozen
class Hinge(Paired):
    """Widen the gap between both rewards until it is 1, then stop.

    max(0, 1 - (r_w - r_l)): equation 12 of arXiv 2309.06657 (RSO), which TRL calls SLiC. The SLiC
    of arXiv 2310.02263, without a reference, is `slic`.
    """

    name = "hinge"

    def __call__(self, batch: cpt.Batch) -> Tensor:
        return (1 - self.gap(batch)).relu()
