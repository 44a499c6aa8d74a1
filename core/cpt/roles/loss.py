"""Losses say how wrong the model is on each pair."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar, Literal, get_args

import attrs

from cpt.roles.component import Component
from cpt.roles.responder import Ask, Responder
from cpt.types import Batch, Logps, Pair

if TYPE_CHECKING:
    from torch import Tensor


Need = Literal["rejected", "reference", "tokens", "mismatched", "score"]
NEEDS = get_args(Need)
Standing = Literal["better", "worse"]
"""How chosen answers compare with those of the model itself."""


@attrs.frozen
class Loss(Component):
    """Scores a batch of pairs: lower is better, one number for each pair."""

    role = "loss"
    needs: ClassVar[frozenset[Need]] = frozenset({"rejected", "reference"})
    """What is computed beside the chosen side; a loss pays for nothing that it does not name.

    `rejected`: the other side; `reference`: log-probabilities under the reference; `tokens`: both
    token by token; `mismatched`: answers to other prompts, for a divergence; `score`: see below.
    With `score` a reward model is trained instead of a language model: `Logps.score` is what it
    gives an answer, and there is neither reference nor log-probability.
    """
    unpaired: ClassVar[bool] = False
    """Whether it also takes a single answer that is good (then chosen) or bad (rejected).

    `Logps.present` then says which side there is; what is not there must count for nothing.
    """
    suits: ClassVar[Standing | None] = None
    """Which chosen answers it is made for: `better` or `worse` than what the model says itself.

    `cpt advise` names it where it finds such; None is never named.
    """

    @abstractmethod
    def __call__(self, batch: Batch) -> Tensor:
        """Return the loss of each pair. Shape (pairs,).

        The loss of a pair must not depend on which other pairs are in the batch, as a step may be
        cut anywhere; core tries that once in every training.
        """

    def metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        """Return what to log beside the loss: one number for each pair, by name. Shape (pairs,).

        Called without gradient for every batch that the loss was called with. The mean over all
        pairs since the last line is logged as `LOSS/NAME`, pair weights left aside. A name has no
        blanks, and every batch gives the same names. The default is none.
        """
        return {}

    def carry(self, before: Mapping[str, float], means: Mapping[str, float]) -> Mapping[str, float]:
        """Return what the next step's batches hold as `carried`: a running estimate, say.

        `before` is what this step's batches held, `means` the mean of each of the loss's own
        metrics over all pairs of the step, by name. Called once for each optimizer step, on every
        process with the same numbers; a checkpoint keeps the result. The default is nothing.
        """
        return {}

    def reward(self, side: Logps) -> Tensor:
        """Return the reward of each answer of one side, for the metrics. Shape (pairs,).

        The default is `reward_scale` times the log-ratio, or times the log-probability for a loss
        that has no reference; the score itself where a reward model is trained.
        """
        if "score" in self.needs:
            return side.score
        return self.reward_scale * (side.ratio if "reference" in self.needs else side.policy)

    @property
    def reward_scale(self) -> float:
        """What turns a log-ratio into a reward in the metrics: `beta` where there is one."""
        return float(getattr(self, "beta", 1.0))


@attrs.frozen(kw_only=True)
class Choice:
    """Which loss was taken, and why."""

    loss: Loss
    why: str
    """One sentence for people."""
    figures: Mapping[str, Any] = attrs.field(factory=dict)
    """What it was decided by, as plain data."""


@attrs.frozen
class LossChoice(Loss):
    """Takes one of several losses once, before training; the run trains with that and records it.

    Called as a loss itself, as an estimate does, it is the loss that it takes where nothing is
    clear. It cannot be a part of a sum.
    """

    @abstractmethod
    async def choose(self, pairs: Sequence[Pair], student: Responder, ask: Ask) -> Choice:
        """Return the loss to train with. `student` answers as the model before training."""


def problem_of_needs(needs: Any) -> str:
    """What is wrong with the `needs` of a loss; empty if nothing is."""
    if not isinstance(needs, set | frozenset):
        return f"`needs` must be a set of words, as in frozenset({{'rejected'}}), got {needs!r}"
    if unknown := sorted(needs - set(NEEDS), key=str):
        close = get_close_matches(str(unknown[0]), NEEDS, n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        return f"`needs` has the unknown word {unknown[0]!r}.{meant} There are: {', '.join(NEEDS)}."
    if "score" in needs and (other := sorted(needs - {"score", "rejected"})):
        return f"`needs` has 'score', so a reward model is trained, which has no {other[0]!r}"
    return ""
