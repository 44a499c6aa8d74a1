"""Losses that judge each answer by itself, and so take single answers: KTO, BCO; also NCA."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
from attrs.validators import and_, ge, gt, lt, optional

import cpt

if TYPE_CHECKING:
    from torch import Tensor


@attrs.frozen
class Kto(cpt.Loss):
    """Lift good answers above the divergence from the reference, and press bad ones below it.

    lambda_D (1 - sigmoid(r_w - z)) + lambda_U (1 - sigmoid(z - r_l)) with r = beta log(pi(y|x) /
    pi_ref(y|x)) and z = beta max(0, mean log-ratio of mismatched answers): arXiv
    2402.01306. A pair is one good and one bad answer; the mismatched ones are those of the whole
    step, however it is cut.
    """

    name = "kto"
    known_as = ("kto_pair",)
    needs = frozenset({"rejected", "reference", "mismatched"})
    unpaired = True
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: a larger one keeps the model nearer to the reference."""
    desirable_weight: float = attrs.field(default=1.0, validator=ge(0.0))
    """Weight of good answers; times their number it should be 1 to 4/3 of that of bad ones."""
    undesirable_weight: float = attrs.field(default=1.0, validator=ge(0.0))
    """Weight of bad answers."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        kl = self._kl(batch)
        good = 1 - (self.beta * (batch.chosen.ratio - kl)).sigmoid()
        bad = 1 - (self.beta * (kl - batch.rejected.ratio)).sigmoid()
        return (
            self.desirable_weight * good * batch.chosen.present
            + self.undesirable_weight * bad * batch.rejected.present
        )

    def metrics(self, batch: cpt.Batch) -> Mapping[str, Tensor]:
        return {"kl": self._kl(batch).expand(len(batch.ids))}

    def _kl(self, batch: cpt.Batch) -> Tensor:
        """An estimate of KL(pi || pi_ref), in nats. Shape ()."""
        return batch.mismatched.ratio.mean().clamp(min=0).detach()


@attrs.frozen
class Bco(cpt.Loss):
    """Tell good from bad answers by their reward, less the mean reward so far.

    -log sigmoid(r_w - delta) - log sigmoid(-(r_l - delta)) with r = beta log(pi(y|x) / pi_ref(y|x))
    and delta the mean of all rewards: arXiv 2404.04656. Delta is that of the steps before, so that
    a pair's loss does not depend on the others of its batch. The paper's weights of bad answers
    from other prompts (UDM) can be given as the `weight` of each.
    """

    name = "bco"
    known_as = ("bco_pair",)
    unpaired = True
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: a larger one keeps the model nearer to the reference."""
    shift: bool = True
    """Whether delta is subtracted; without it this is TRL's `bco_pair`."""
    decay: float | None = attrs.field(default=None, validator=optional(and_(ge(0.0), lt(1.0))))
    """What a step keeps of the delta before it; without one, all steps count the same."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        delta = batch.carried.get("delta", 0.0) if self.shift else 0.0
        good = -logsigmoid(self.reward(batch.chosen) - delta)
        bad = -logsigmoid(delta - self.reward(batch.rejected))
        return good * batch.chosen.present + bad * batch.rejected.present

    def metrics(self, batch: cpt.Batch) -> Mapping[str, Tensor]:
        # What is not there has a log-ratio of 0.
        total = self.reward(batch.chosen) + self.reward(batch.rejected)
        answers = batch.chosen.present.float() + batch.rejected.present.float()
        return {"reward": total / answers}

    def carry(self, before: Mapping[str, float], means: Mapping[str, float]) -> Mapping[str, float]:
        steps = before.get("steps", 0.0) + 1
        kept = 1 - 1 / steps if self.decay is None or steps == 1 else self.decay
        delta = kept * before.get("delta", 0.0) + (1 - kept) * means["reward"]
        return {"delta": delta, "steps": steps}


@attrs.frozen
class Nca(cpt.Loss):
    """Raise the chosen answer, lower the rejected one, and keep both near the reference.

    -log sigmoid(r_w) - 1/2 log sigmoid(-r_w) - 1/2 log sigmoid(-r_l) with r = beta log(pi(y|x) /
    pi_ref(y|x)): NCA for two answers, arXiv 2402.05369.
    """

    name = "nca"
    known_as = ("nca_pair",)
    beta: float = attrs.field(default=0.1, validator=gt(0.0))
    """How sharply the log-ratio counts: a larger one keeps the model nearer to the reference."""

    def __call__(self, batch: cpt.Batch) -> Tensor:
        from torch.nn.functional import logsigmoid

        good, bad = self.reward(batch.chosen), self.reward(batch.rejected)
        return -logsigmoid(good) - (logsigmoid(-good) + logsigmoid(-bad)) / 2
