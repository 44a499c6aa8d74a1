"""What every loss promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from cpt.roles import Loss
from cpt.testing.contracts.component import ComponentContract
from cpt.testing.fakes import fake_batch
from cpt.types import Batch, Logps, TokenLogps

if TYPE_CHECKING:
    from torch import Tensor

HOPELESS = 1e4
"""Nats by which a pair is wrong beyond rescue: far past where exp() overflows."""
SEEDS = 5


class LossContract(ComponentContract[Loss]):
    """What every loss promises. Every batch holds what its `needs` name and no more."""

    def test_one_finite_number_per_pair(self) -> None:
        """It returns one finite number for each pair, in the shape (pairs,)."""
        losses = self.component(self._batch())
        assert losses.shape == (4,), f"4 pairs gave the shape {tuple(losses.shape)}, not (4,)."
        assert losses.isfinite().all(), f"The losses {losses.tolist()} are not all finite."

    def test_it_needs_what_it_names_and_no_more(self) -> None:
        """More in the batch than its `needs` name changes nothing."""
        whole = fake_batch()
        named, more = self.component(_only_needed(whole, self.component)), self.component(whole)
        assert named.allclose(more), (
            f"With only what `needs` names the losses are {named.tolist()}, with more in the batch "
            f"{more.tolist()}."
        )

    def test_it_trains(self) -> None:
        """Some log-probability of the policy has a gradient that is not 0."""
        sides = self._gradients(self._batch())
        assert any(side is not None and side.any() for side in sides), (
            "No log-probability of the policy has a gradient."
        )

    def test_hopeless_pairs_stay_finite(self) -> None:
        """Losses and gradients are finite 10,000 nats from the reference, on either side."""
        for shift in (-HOPELESS, HOPELESS):
            self._assert_finite(_shifted(self._batch(), shift), f"{shift:g} nats away")

    def test_unknown_margins_and_scores_do_no_harm(self) -> None:
        """Losses and gradients are finite where margins and scores are unknown, which is NaN."""
        batch = fake_batch(needs=self.component.needs, known=False)
        self._assert_finite(batch, "with unknown margins and scores")

    def test_pairs_do_not_affect_each_other(self) -> None:
        """A pair has the same loss alone: the split into micro-batches must be exact."""
        batch = self._batch()
        together = self.component(batch)
        for index in range(4):
            alone = self.component(batch.select(slice(index, index + 1)))
            assert alone.shape == (1,), f"One pair gave the shape {tuple(alone.shape)}, not (1,)."
            assert together[index].allclose(alone[0]), (
                f"Pair {index} has the loss {together[index]:g} among others, {alone[0]:g} alone."
            )

    def test_a_side_that_is_not_there_counts_for_nothing(self) -> None:
        """Of unpaired data, for a loss that takes it, only the answer there is has a say."""
        if not self.component.unpaired:
            return
        batch = self._batch()
        for absent in ("chosen", "rejected"):
            side: Logps = getattr(batch, absent)
            nowhere = side.length < 0
            sides: list[Any] = [attrs.evolve(side, present=nowhere), side.where(nowhere)]
            values = [self.component(attrs.evolve(batch, **{absent: one})) for one in sides]
            assert values[0].isfinite().all(), f"Without {absent} the losses are {values[0]}."
            assert values[0].allclose(values[1]), (
                f"The losses change with the {absent} side where there is none: see "
                "`Logps.present`."
            )

    def test_the_same_batch_gives_the_same_loss(self) -> None:
        """Computing it twice gives equal numbers."""
        first, second = self.component(self._batch()), self.component(self._batch())
        assert first.equal(second), f"The same batch gave {first.tolist()}, then {second.tolist()}."

    def _assert_finite(self, batch: Batch, where: str) -> None:
        losses = self.component(batch)
        assert losses.isfinite().all(), (
            f"The losses {where} are {losses.tolist()}; -log(sigmoid(x)) overflows, softplus(-x) "
            "does not."
        )
        for side in self._gradients(batch):
            finite = side is None or side.isfinite().all()
            assert finite, f"The gradients {where} are not all finite."

    def _batch(self, seed: int = 0) -> Batch:
        return fake_batch(needs=self.component.needs, seed=seed)

    def _gradients(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Of the summed loss, by the log-probabilities of the chosen and the rejected side."""
        import torch

        sides = [batch.chosen]
        if "rejected" in self.component.needs:
            sides.append(batch.rejected)
        leaves = [_seen(side) for side in sides]
        losses = self.component(batch)
        chosen, *rest = torch.autograd.grad(losses.sum(), leaves, allow_unused=True)
        return chosen, rest[0] if rest else None


class MonotoneLossContract(LossContract):
    """What a loss may promise as well: a pair further apart is never worse.

    Losses with a target, such as IPO, do not: beyond it they bring a pair together again.
    """

    def test_the_chosen_is_never_discouraged(self) -> None:
        """No gradient lowers the log-probability of a chosen answer."""
        for seed in range(SEEDS):
            chosen, _ = self._gradients(self._batch(seed))
            assert chosen is None or (chosen <= 0).all(), (
                f"The loss falls as chosen answers get less likely (batch of seed {seed})."
            )

    def test_the_rejected_is_never_encouraged(self) -> None:
        """No gradient raises the log-probability of a rejected answer."""
        for seed in range(SEEDS):
            _, rejected = self._gradients(self._batch(seed))
            assert rejected is None or (rejected >= 0).all(), (
                f"The loss falls as rejected answers get more likely (batch of seed {seed})."
            )


def _seen(side: Logps) -> Tensor:
    """The tensor through which a loss sees this side: by token if it has tokens."""
    tokens: TokenLogps | None = side._tokens
    return side.policy if tokens is None else tokens.policy


def _only_needed(batch: Batch, loss: Loss) -> Batch:
    def side(logps: Logps) -> Logps:
        tokens = logps.tokens
        if "reference" not in loss.needs:
            tokens = attrs.evolve(tokens, reference=None)
        return Logps(
            policy=logps.policy,
            length=logps.length,
            reference=logps.reference if "reference" in loss.needs else None,
            tokens=tokens if "tokens" in loss.needs else None,
            scored="score" in loss.needs,
        )

    return attrs.evolve(
        batch,
        chosen=side(batch.chosen),
        rejected=side(batch.rejected) if "rejected" in loss.needs else None,
        mismatched=side(batch.mismatched) if "mismatched" in loss.needs else None,
    )


def _shifted(batch: Batch, nats: float) -> Batch:
    """The chosen side `nats` more likely under the policy, the rejected side as much less."""

    def side(logps: Logps, by: float) -> Logps:
        tokens: TokenLogps | None = logps._tokens
        if tokens is None:
            return attrs.evolve(logps, policy=logps.policy + by)
        policy = (tokens.policy + by / logps.length.unsqueeze(1)) * tokens.mask
        return attrs.evolve(logps, policy=policy.sum(1), tokens=attrs.evolve(tokens, policy=policy))

    rejected: Logps | None = batch._rejected
    return attrs.evolve(
        batch,
        chosen=side(batch.chosen, nats),
        rejected=None if rejected is None else side(rejected, -nats),
    )
