"""The loss that is taken by whether the chosen answers are better than the model's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import attrs
from attrs.validators import ge, gt

import cpt
from cpt_apo.losses import ApoDown, ApoZero

if TYPE_CHECKING:
    from torch import Tensor

    from cpt.matches import Advice


@attrs.frozen
class Auto(cpt.LossChoice):
    """Take `apo_zero` where the chosen answers are better than the model's own, else `apo_down`.

    Before training, a judge compares the chosen answers of a sample with what the model says, in
    both orders; the run records what was taken, and why (arXiv 2408.06266, section 4).
    """

    name = "auto"
    judge: cpt.Judge
    """Who compares the chosen answers with the model's own."""
    sample: int = attrs.field(default=100, validator=ge(10))
    """Prompts to ask at most."""
    otherwise: Literal["apo_zero", "apo_down"] = "apo_zero"
    """What is taken where the 95% interval does not tell."""
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """That of the loss that is taken."""

    async def choose(
        self, pairs: Sequence[cpt.Pair], student: cpt.Responder, ask: cpt.Ask
    ) -> cpt.Choice:
        from cpt.matches import advise

        advice = await advise(pairs, student, self.judge, ask, self.sample)
        taken = {"better": "apo_zero", "worse": "apo_down"}.get(advice.chosen, self.otherwise)
        return cpt.Choice(
            loss=self._named(taken), why=_why(advice, taken), figures=attrs.asdict(advice)
        )

    def __call__(self, batch: cpt.Batch) -> Tensor:
        return self._named(self.otherwise)(batch)

    def _named(self, name: str) -> cpt.Loss:
        return ApoZero(beta=self.beta) if name == "apo_zero" else ApoDown(beta=self.beta)


def _why(advice: Advice, taken: str) -> str:
    if advice.win_rate is None:
        return f"no answer was judged, so {taken} as `otherwise` says"
    rate = f"{advice.win_rate:.1f}% [{advice.low:.1f}, {advice.high:.1f}]"
    compared = f"chosen answers are preferred to the model's own in {rate}"
    if advice.chosen == "not clear":
        return f"{compared}: not clear, so {taken} as `otherwise` says"
    return f"{compared}: they are {advice.chosen}, so {taken}"
