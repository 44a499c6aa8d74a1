"""Losses without a reference model: SimPO, ORPO, CPO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
from attrs.validators import ge, gt

import cpt
from cpt_losses.paired import Paired

if TYPE_CHECKING:
    from torch import Tensor

ALMOST_SURE = -1e-6
"""The largest mean log-probability whose odds are computed: those of 0 are infinite."""


@attrs.frozen
class SimPo(Paired):
    """Widen the gap between log-probabilities per token beyond a target.

    -log sigmoid(r_w - r_l - gamma) with r = beta log pi(y|x) / |y|: arXiv 2405.14734. No reference
    model is run.
    """

    name = "simpo"
    needs = frozenset({"rejected"})
    beta: float = attrs.field(default=2.0, validator=gt(0.0))
    """How sharply the gap counts; 2 to 10 in the paper."""
    gamma_beta_ratio: float = attrs.field(default=0.5, validator=ge(0.0))
    """The target over beta: the gap in log-probability per token that is aimed at."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        gap = self.reward(batch.chosen) - self.reward(batch.rejected)
        return -logsigmoid(self.less_margin(gap - self.beta * self.gamma_beta_ratio, batch))

    def reward(self, side: cpt.Logps) -> Tensor:
        return self.beta * side.mean


@attrs.frozen
class Orpo(cpt.Loss):
    """Imitate the chosen answer and make its odds larger than the rejected one's.

    -log pi(y_w|x) / |y_w| - lambda log sigmoid(log(odds(y_w) / odds(y_l))): arXiv 2403.07691. The
    odds are P / (1 - P), and P is the geometric mean of an answer's token probabilities. No
    reference model is run, and no SFT before it is needed.
    """

    name = "orpo"
    needs = frozenset({"rejected"})
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """Weight of the odds ratio (lambda in the paper; TRL calls it beta too)."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        odds = _log_odds(batch.chosen.mean) - _log_odds(batch.rejected.mean)
        return -batch.chosen.mean - self.beta * logsigmoid(odds)

    def metrics(self, batch: cpt.Batch) -> dict[str, Tensor]:
        odds = _log_odds(batch.chosen.mean) - _log_odds(batch.rejected.mean)
        return {"log_odds_ratio": odds, "nll": -batch.chosen.mean}

    def reward(self, side: cpt.Logps) -> Tensor:
        return self.beta * side.mean


@attrs.frozen
class Cpo(Paired):
    """DPO without its reference, and imitation of the chosen answer.

    -log sigmoid(beta log pi(y_w|x) - beta log pi(y_l|x)) - log pi(y_w|x): arXiv 2401.08417, where
    equation 3 is the first term.
    """

    name = "cpo"
    needs = frozenset({"rejected"})
    imitation: float = attrs.field(default=1.0, validator=ge(0.0))
    """Weight of the chosen answer's negative log-likelihood (`cpo_alpha` in TRL)."""
    over: Literal["sum", "mean"] = "sum"
    """What imitation takes over tokens: their sum, as the paper, or their mean, as TRL."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        gap = self.beta * (batch.chosen.policy - batch.rejected.policy)
        likelihood = batch.chosen.policy if self.over == "sum" else batch.chosen.mean
        return -logsigmoid(self.less_margin(gap, batch)) - self.imitation * likelihood


def _log_odds(mean: Tensor) -> Tensor:
    """log(P / (1 - P)) of log P. Shape (pairs,)."""
    mean = mean.clamp(max=ALMOST_SURE)
    return mean - (-mean.expm1()).log()
