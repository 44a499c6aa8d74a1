"""Anchored preference optimization (D'Oosterlinck et al., arXiv 2408.06266)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import attrs
from attrs.validators import ge, gt

import cpt

if TYPE_CHECKING:
    from torch import Tensor

    from cpt.matches import Advice


@attrs.frozen
class ApoZero(cpt.Loss):
    """Raise the chosen and lower the rejected, each by itself, against the reference.

    -sigmoid(r_w) + sigmoid(r_l) with r = beta log(pi(y|x) / pi_ref(y|x)): equation 7. For chosen
    answers better than the model's own. TRL adds 1 to it, which changes no gradient.
    """

    name = "apo_zero"
    suits = "better"
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: a larger one keeps the model nearer to the reference."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        chosen = (self.beta * batch.chosen.ratio).sigmoid()
        rejected = (self.beta * batch.rejected.ratio).sigmoid()
        return -chosen + rejected


@attrs.frozen
class ApoDown(cpt.Loss):
    """Lower the chosen a little and the rejected more, against the reference.

    sigmoid(r_w) - sigmoid(r_w - r_l) with r = beta log(pi(y|x) / pi_ref(y|x)): equation 8. For a
    model better than the chosen answers. TRL adds 1 to it, which changes no gradient.
    """

    name = "apo_down"
    suits = "worse"
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: a larger one keeps the model nearer to the reference."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        chosen = (self.beta * batch.chosen.ratio).sigmoid()
        apart = (self.beta * (batch.chosen.ratio - batch.rejected.ratio)).sigmoid()
        return chosen - apart


@attrs.frozen
class ApoHingeZero(cpt.Loss):
    """As `apo_zero`, with hinges: an answer that has moved far enough no longer counts.

    max(0, 1 - r_w) + max(0, 1 + r_l) with r = beta log(pi(y|x) / pi_ref(y|x)). Derived from the
    abstract of arXiv 2508.08466 (hinges in `apo_zero`, so that hard examples alone count), not from
    its equation, which could not be read; the code that its authors published lacks the loss.
    """

    name = "apo_hinge_zero"
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: an answer counts until it is 1 / beta nats away."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        chosen, rejected = self.reward(batch.chosen), self.reward(batch.rejected)
        return (1 - chosen).relu() + (1 + rejected).relu()


@attrs.frozen
class ApoZeroUnpaired(cpt.Loss):
    """As `apo_zero`, for single answers as well: each is good or bad by itself.

    -lambda_D sigmoid(r_w) of a good answer, lambda_U sigmoid(r_l) of a bad one: TRL's form for
    unpaired data, without the 1 that it adds for a good one. Cheaper than `kto`, as no divergence
    is estimated.
    """

    name = "apo_zero_unpaired"
    unpaired = True
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: a larger one keeps the model nearer to the reference."""
    desirable_weight: float = attrs.field(default=1.0, validator=ge(0.0))
    """Weight of good answers."""
    undesirable_weight: float = attrs.field(default=1.0, validator=ge(0.0))
    """Weight of bad answers."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        good = self.reward(batch.chosen).sigmoid() * batch.chosen.present
        bad = self.reward(batch.rejected).sigmoid() * batch.rejected.present
        return self.undesirable_weight * bad - self.desirable_weight * good


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


@cpt.hookimpl
def cpt_losses() -> list[type[cpt.Loss]]:
    return [ApoZero, ApoDown, ApoHingeZero, ApoZeroUnpaired, Auto]
