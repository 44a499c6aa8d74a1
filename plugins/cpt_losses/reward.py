"""Training a reward model instead of a language model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs.validators import ge

import cpt

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class BradleyTerry(cpt.Loss):
    """Trains a reward model: it gives the chosen answer a higher score than the rejected one.

    -log sigma(r(x, y_w) - r(x, y_l) - m): equation 1 of InstructGPT (2203.02155) for one pair, and
    the margin m of Llama 2 (2307.09288, equation 2). The model is exported as a sequence
    classifier with one output, which the judge `reward_model` and other tools read.
    """

    name = "bradley_terry"
    needs = frozenset({"rejected", "score"})
    margin: float = attrs.field(default=0.0, validator=ge(0.0))
    """Gap of scores asked for by each unit of `Pair.margin`; an unknown margin asks for 0."""
    centre: float = attrs.field(default=0.0, validator=ge(0.0))
    """Weight of (r_w + r_l)^2, which keeps scores near 0 (2312.09244)."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        chosen, rejected = batch.chosen.score, batch.rejected.score
        asked = self.margin * batch.margin.nan_to_num(0.0)
        return -logsigmoid(chosen - rejected - asked) + self.centre * (chosen + rejected) ** 2
