"""DPO with another shape: how much a pair counts depends on where it stands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
from attrs.validators import and_, ge, gt, le, lt, optional

import cpt
from cpt_losses.paired import Paired

if TYPE_CHECKING:
    from torch import Tensor

SMALLEST_BETA = 1e-3
"""Below which `beta_dpo` does not go, as in its authors' code."""


@attrs.frozen
class Wpo(Paired):
    """DPO that weighs a pair by how likely the model is to write its answers.

    w_w w_l (-log sigmoid(r_w - r_l)) with w = exp(log pi(y|x) / |y|), without gradient: equation 2
    of arXiv 2406.11827, without its alignment of weights, which needs all logits. TRL has only the
    aligned form.
    """

    name = "wpo"

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        return -logsigmoid(self.gap(batch)) * self._weight(batch)

    def metrics(self, batch: cpt.Batch) -> Mapping[str, Tensor]:
        return {"weight": self._weight(batch)}

    def _weight(self, batch: cpt.Batch) -> Tensor:
        """w_w w_l, at most 1. Shape (pairs,)."""
        return (batch.chosen.mean + batch.rejected.mean).detach().clamp(max=0).exp()


@attrs.frozen
class Exo(Paired):
    """Match the preference by the reverse KL divergence.

    KL(p || q) over the two answers with p = (sigmoid(r_w - r_l), sigmoid(r_l - r_w)) and
    q = (1 - e, e): equation 16 of arXiv 2402.00856.
    """

    name = "exo"
    known_as = ("exo_pair",)
    label_smoothing: float = attrs.field(default=1e-3, validator=and_(gt(0.0), lt(0.5)))
    """How likely the rejected answer is to be the better one (e), above 0."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from math import log, log1p

        from torch.nn.functional import logsigmoid

        gap = self.gap(batch)
        right, wrong = logsigmoid(gap), logsigmoid(-gap)
        smoothing = self.label_smoothing
        return right.exp() * (right - log1p(-smoothing)) + wrong.exp() * (wrong - log(smoothing))


@attrs.frozen
class DiscoPop(Paired):
    """A blend of DPO's logistic loss and an exponential one that a language model discovered.

    (1 - m) (-log sigmoid(l)) + m exp(-l) with l = r_w - r_l and m = sigmoid(l / tau): equation 5 of
    arXiv 2406.08414. With a small tau it is not convex, and at l = 0 it falls to the wrong side.
    """

    name = "discopop"
    beta: float = attrs.field(default=0.05, validator=gt(0.0))
    """How sharply the gap counts: a larger one keeps the model nearer to the reference."""
    tau: float = attrs.field(default=0.05, validator=and_(gt(0.0), lt(1.0)))
    """How suddenly one part takes over from the other."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        gap = self.gap(batch)
        logistic = -logsigmoid(gap) * (-gap / self.tau).sigmoid()
        # m exp(-l), without exp() of a large number.
        return logistic + (logsigmoid(gap / self.tau) - gap).exp()


@attrs.frozen
class FocalPo(Paired):
    """DPO that spends less on pairs in the wrong order, which it rarely turns around.

    -p^gamma log p with p = sigmoid(r_w - r_l): arXiv 2501.06645.
    """

    name = "focalpo"
    gamma: float = attrs.field(default=0.05, validator=ge(0.0))
    """How much less a pair in the wrong order counts; 0 is DPO."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        likely = logsigmoid(self.gap(batch))
        return -(self.gamma * likely).exp() * likely


@attrs.frozen
class Dpop(Paired):
    """DPO that does not let the chosen answer get less likely than under the reference.

    -log sigmoid(r_w - r_l - beta lambda max(0, log(pi_ref(y_w|x) / pi(y_w|x)))): DPO-Positive,
    arXiv 2402.13228, for pairs that differ in little, such as CLAIR's.
    """

    name = "dpop"
    beta: float = attrs.field(default=0.3, validator=gt(0.0))
    """How sharply the gap counts: a larger one keeps the model nearer to the reference."""
    penalty: float = attrs.field(default=50.0, validator=ge(0.0))
    """How much a lower likelihood of the chosen answer weighs (lambda in the paper)."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        lost = (-batch.chosen.ratio).clamp(min=0)
        return -logsigmoid(self.gap(batch) - self.beta * self.penalty * lost)


@attrs.frozen
class DpoShift(Paired):
    """DPO that counts the rejected answer for less, so that the chosen one stays likely.

    -log sigmoid(r_w - f r_l): arXiv 2502.07599.
    """

    name = "dpo_shift"
    f: float = attrs.field(default=0.95, validator=and_(gt(0.0), le(1.0)))
    """What the rejected answer's reward is multiplied by; 1 is DPO."""
    f_end: float | None = attrs.field(default=None, validator=optional(and_(gt(0.0), le(1.0))))
    """Where f goes, linearly, until the last step; without one it stays."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        end = self.f if self.f_end is None else self.f_end
        f = self.f + (end - self.f) * batch.progress
        gap = self.reward(batch.chosen) - f * self.reward(batch.rejected)
        return -logsigmoid(self.less_margin(gap, batch))


@attrs.frozen
class BetaDpo(Paired):
    """DPO with a larger beta while the pairs are clearly apart, a smaller one while they are not.

    -log sigmoid(b (h_w - h_l)) with h = log(pi(y|x) / pi_ref(y|x)), b = beta (1 + alpha (m - m0)),
    m the mean gap of rewards in a step, and m0 its running mean: arXiv 2407.08639. Here m is that
    of the step before, so that a pair's loss does not depend on the others of its batch; for the
    same reason the paper's filter of pairs within a batch is left out.
    """

    name = "beta_dpo"
    alpha: float = attrs.field(default=0.6, validator=ge(0.0))
    """How much beta follows the mean gap; 0 is DPO."""
    momentum: float = attrs.field(default=0.9, validator=and_(ge(0.0), lt(1.0)))
    """What a step keeps of the running mean before it."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        ratios = batch.chosen.ratio - batch.rejected.ratio
        return -logsigmoid(self.less_margin(self._beta(batch.carried) * ratios, batch))

    def metrics(self, batch: cpt.Batch) -> Mapping[str, Tensor]:
        gap = self.reward(batch.chosen) - self.reward(batch.rejected)
        return {"gap": gap, "beta": gap.new_full(gap.shape, self._beta(batch.carried))}

    def carry(self, before: Mapping[str, float], means: Mapping[str, float]) -> Mapping[str, float]:
        center, gap = before.get("center", 0.0), before.get("gap", 0.0)
        center = self.momentum * center + (1 - self.momentum) * gap
        return {"gap": means["gap"], "center": center}

    def _beta(self, carried: Mapping[str, float]) -> float:
        apart = carried.get("gap", 0.0) - carried.get("center", 0.0)
        return max(SMALLEST_BETA, self.beta * (1 + self.alpha * apart))
