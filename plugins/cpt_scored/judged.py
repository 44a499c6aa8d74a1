"""Pairs of answers that a judge scored: of any models, or of one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from attrs.validators import ge, min_len

import cpt
from cpt_scored.judging import Judging


def _check_samples(judged: Judged, _: attrs.Attribute[Any], samples: int) -> None:
    if samples * len(judged.responders) < 2:
        raise ValueError("'samples' must be >= 2 where one responder answers: 1")


@attrs.frozen
class Judged(Judging):
    """Prefer one of several answers to another by the scores of a judge and a rule.

    y_1, ..., y_n are answers of any responders, y_w and y_l two of them: of models other than the
    trained one, the off-policy judge of arXiv 2408.06266, equation 3; of the trained one, the
    on-policy judge, equation 2. The margin is the gap between their scores; the tier counts the
    distinct scores from one to the other.
    """

    name = "judged"
    responders: tuple[cpt.Responder, ...] = attrs.field(validator=min_len(1))
    """Who answers: any models, live or recorded; repeat the flag for several."""
    judge: cpt.Judge
    """Who scores the answers."""
    samples: int = attrs.field(default=1, validator=[ge(1), _check_samples])
    """Answers of each responder."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        wanted = [(who, sample) for who in self.responders for sample in range(self.samples)]
        return await self.judged(prompt, wanted, self.judge, ask)


@attrs.frozen
class Rlaif(Judging):
    """Prefer the best of several answers of one model to the worst, as a judge scores them.

    `judged` with one responder, the model to be trained: y_w, y_l = Judge(x, y_1, ..., y_n) with
    y_i = M(x), the on-policy judge of arXiv 2408.06266, equation 2, for n answers.
    """

    name = "rlaif"
    responder: cpt.Responder
    """Whose answers are compared: the model to be trained."""
    judge: cpt.Judge
    """Who scores them."""
    samples: int = attrs.field(default=4, validator=ge(2))
    """Answers to each prompt."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        wanted = [(self.responder, sample) for sample in range(self.samples)]
        return await self.judged(prompt, wanted, self.judge, ask)
