"""A loss that stops pushing once a pair is well apart, and a pairer that prefers brevity."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

import cpt

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class Hinge(cpt.Loss):
    """Pulls the two apart until their rewards differ by 1, and then stops.

    The normalised hinge of Liu et al., "Statistical Rejection Sampling Improves Preference
    Optimization" (arXiv 2309.06657).
    """

    name = "hinge"
    beta: float = 0.1
    """How much reward a nat of log-ratio is."""

    def __call__(self, batch: cpt.Batch) -> "Tensor":
        """Return the loss of each pair. Shape (pairs,)."""
        return (1 - self.beta * (batch.chosen.ratio - batch.rejected.ratio)).relu()


@attrs.frozen
class Brief(cpt.Pairer):
    """Prefers the shorter of two answers by the same model."""

    name = "brief"
    student: cpt.Responder
    """Who answers twice."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair]:
        """Ask twice and sort by length; two of the same length are a tie."""
        answers = [(await ask(self.student, prompt, sample)).expect() for sample in range(2)]
        shorter, longer = sorted(answers, key=lambda answer: len(answer.text))
        margin = len(longer.text) - len(shorter.text)
        if not margin:
            raise cpt.NoPair("tie", f"both answers have {len(shorter.text)} characters")
        return [cpt.Pair(prompt=prompt, chosen=shorter, rejected=longer, margin=float(margin))]


@cpt.hookimpl
def cpt_losses() -> list[type[cpt.Loss]]:
    """Offer the loss."""
    return [Hinge]


@cpt.hookimpl
def cpt_pairers() -> list[type[cpt.Pairer]]:
    """Offer the pairer."""
    return [Brief]
