"""The losses without a reference that contrastive post-training compares (arXiv 2310.02263)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs
from attrs.validators import ge

import cpt

if TYPE_CHECKING:
    from torch import Tensor

Over = Literal["sum", "mean"]


@attrs.frozen
class Sft(cpt.Loss):
    """Imitate the chosen answer and never look at the rejected one.

    -log pi(y_w|x), the negative log-likelihood of the superior answer, here per token of each
    pair, so that a long answer weighs no more than a short one.
    """

    name = "sft"
    needs = frozenset()
    over: Over = "mean"
    """What is taken over an answer's tokens: their mean, or their sum."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        return -_likelihood(batch.chosen, self.over)


@attrs.frozen
class Slic(cpt.Loss):
    """Open a fixed gap between chosen and rejected while imitating the chosen.

    max(0, delta - log pi(y_w|x) + log pi(y_l|x)) - lambda log pi(y_ref|x): equation 1 of
    arXiv 2310.02263, with y_ref = y_w. It needs no reference model.
    """

    name = "slic"
    needs = frozenset({"rejected"})
    delta: float = attrs.field(default=1.0, validator=ge(0.0))
    """The gap in log-probability beyond which a pair no longer counts."""
    imitation: float = attrs.field(default=1.0, validator=ge(0.0))
    """Weight of the chosen answer's negative log-likelihood (lambda in the paper)."""
    over: Over = "sum"
    """What is taken over an answer's tokens: their sum, or their mean."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        chosen = _likelihood(batch.chosen, self.over)
        rejected = _likelihood(batch.rejected, self.over)
        return (self.delta - chosen + rejected).clamp(min=0) - self.imitation * chosen


def _likelihood(side: cpt.Logps, over: Over) -> Tensor:
    """log pi(y|x). Shape (pairs,)."""
    return side.policy if over == "sum" else side.mean


@cpt.hookimpl
def cpt_losses() -> list[type[cpt.Loss]]:
    return [Sft, Slic]
