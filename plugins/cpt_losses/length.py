"""Losses that do not let a longer answer count more: length-normalised DPO, LD-DPO, D2PO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
from attrs.validators import and_, ge, gt, le

import cpt
from cpt_losses.paired import Paired

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class DpoNorm(Paired):
    """DPO on log-ratios per token, so that a long answer has no head start.

    -log sigmoid(r_w / |y_w| - r_l / |y_l|): Tulu 3 (arXiv 2411.15124), with its beta of 5, which
    OLMo 3 uses as well. TRL calls it `sigmoid_norm`.
    """

    name = "dpo_norm"
    known_as = ("sigmoid_norm",)
    beta: float = attrs.field(default=5.0, validator=gt(0.0))
    """How sharply the gap counts; it is per token, so much larger than for `dpo`."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        gap = self.reward(batch.chosen) - self.reward(batch.rejected)
        return -logsigmoid(self.less_margin(gap, batch))

    def reward(self, side: cpt.Logps) -> Tensor:
        return self.beta * side.ratio / side.length


@attrs.frozen
class LdDpo(Paired):
    """DPO in which the part of an answer that is longer than the other one counts less.

    -log sigmoid(r_w - r_l), where log pi(y|x) is summed over as many tokens as the shorter answer
    has, and over the rest times alpha: LD-DPO, arXiv 2409.06411.
    """

    name = "ld_dpo"
    needs = frozenset({"rejected", "reference", "tokens"})
    alpha: float = attrs.field(default=0.5, validator=and_(ge(0.0), le(1.0)))
    """Weight of the tokens beyond the shorter answer; 1 is DPO."""
    of: Literal["both", "policy"] = "both"
    """Whose tail counts less: that of policy and reference (TRL too), or of the policy alone."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        shorter = batch.chosen.length.minimum(batch.rejected.length)
        ratios = [self._ratio(side, shorter) for side in (batch.chosen, batch.rejected)]
        return -logsigmoid(self.less_margin(self.beta * (ratios[0] - ratios[1]), batch))

    def _ratio(self, side: cpt.Logps, shorter: Tensor) -> Tensor:
        """The log-ratio with a light tail. Shape (pairs,)."""
        tokens = side.tokens
        tail = _positions(tokens) >= shorter.unsqueeze(1)
        weight = 1 - (1 - self.alpha) * tail.to(tokens.policy.dtype)
        policy = (tokens.policy * weight * tokens.mask).sum(1)
        if self.of == "policy":
            return policy - side.reference
        return policy - (_reference(tokens) * weight * tokens.mask).sum(1)


@attrs.frozen
class D2po(Paired):
    """DPO in which early tokens count more than late ones.

    -log sigmoid(r_w - r_l), where r sums gamma^t beta log(pi(y_t|x, y_<t) / pi_ref(y_t|x, y_<t))
    over the tokens t = 0, 1, ... of an answer: D2PO, arXiv 2502.14340.
    """

    name = "d2po"
    needs = frozenset({"rejected", "reference", "tokens"})
    gamma: float = attrs.field(default=0.98, validator=and_(gt(0.0), le(1.0)))
    """What each token counts, compared with the one before it; 1 is DPO."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        gap = self._reward(batch.chosen.tokens) - self._reward(batch.rejected.tokens)
        return -logsigmoid(self.less_margin(gap, batch))

    def _reward(self, tokens: cpt.TokenLogps) -> Tensor:
        """The discounted reward of each answer. Shape (pairs,)."""
        ratios = (tokens.policy - _reference(tokens)) * tokens.mask
        return self.beta * (ratios * self.gamma ** _positions(tokens)).sum(1)


def _positions(tokens: cpt.TokenLogps) -> Tensor:
    """The number of each token from 0. Shape (seq_len,)."""
    import torch

    return torch.arange(tokens.policy.shape[1], device=tokens.policy.device)


def _reference(tokens: cpt.TokenLogps) -> Tensor:
    assert tokens.reference is not None, "these losses need a reference"
    return tokens.reference
