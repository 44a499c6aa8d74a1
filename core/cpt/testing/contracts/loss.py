"""What every loss promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from cpt.roles import Loss
from cpt.testing.contracts.component import ComponentContract
from cpt.testing.fakes import fake_batch
from cpt.types import Batch, Logps, TokenLogps

if TYPE_CHECKING:
    from torch import Tensor

HOPELESS = 1e4
"""Nats by which a pair is wrong beyond rescue: far past where exp() overflows."""


class LossContract(ComponentContract[Loss]):
    """What every loss promises. Every batch holds what its `needs` name and no more."""

    def test_one_finite_number_per_pair(self) -> None:
        losses = self.component(self._batch())
        assert losses.shape == (4,)
        assert losses.isfinite().all()

    def test_it_needs_what_it_names_and_no_more(self) -> None:
        """A loss pays for what it names, and cannot profit by what happens to be there."""
        whole = fake_batch()
        assert self.component(_only_needed(whole, self.component)).allclose(self.component(whole))

    def test_it_trains(self) -> None:
        """Some log-probability of the policy has a gradient."""
        chosen, rejected = self._gradients(self._batch())
        assert any(side is not None and side.any() for side in (chosen, rejected))

    @pytest.mark.parametrize("shift", [-HOPELESS, HOPELESS])
    def test_hopeless_pairs_stay_finite(self, shift: float) -> None:
        """One wild pair must not turn the weights into NaN."""
        batch = _shifted(self._batch(), shift)
        assert self.component(batch).isfinite().all()
        for side in self._gradients(batch):
            assert side is None or side.isfinite().all()

    def test_unknown_margins_and_scores_do_no_harm(self) -> None:
        """Pairs that come from elsewhere have none: they arrive as NaN."""
        batch = fake_batch(needs=self.component.needs, known=False)
        assert self.component(batch).isfinite().all()
        assert all(side is None or side.isfinite().all() for side in self._gradients(batch))

    def test_pairs_do_not_affect_each_other(self) -> None:
        """What makes the split of a batch into micro-batches exact."""
        batch = self._batch()
        together = self.component(batch)
        alone = [self.component(batch.select(slice(index, index + 1))) for index in range(4)]
        assert all(loss.shape == (1,) for loss in alone)
        assert all(together[index].allclose(loss[0]) for index, loss in enumerate(alone))

    def test_the_same_batch_gives_the_same_loss(self) -> None:
        assert self.component(self._batch()).equal(self.component(self._batch()))

    @pytest.mark.parametrize("seed", range(5))
    def test_the_chosen_is_never_discouraged(self, seed: int) -> None:
        chosen, _ = self._gradients(self._batch(seed))
        assert chosen is None or (chosen <= 0).all()

    @pytest.mark.parametrize("seed", range(5))
    def test_the_rejected_is_never_encouraged(self, seed: int) -> None:
        _, rejected = self._gradients(self._batch(seed))
        assert rejected is None or (rejected >= 0).all()

    def _batch(self, seed: int = 0) -> Batch:
        return fake_batch(needs=self.component.needs, seed=seed)

    def _gradients(self, batch: Batch) -> tuple[Tensor | None, Tensor | None]:
        """Of the summed loss, by the log-probabilities of the chosen and the rejected side."""
        import torch

        sides = [batch.chosen]
        if "rejected" in self.component.needs:
            sides.append(batch.rejected)
        leaves = [_seen(side) for side in sides]
        found = torch.autograd.grad(self.component(batch).sum(), leaves, allow_unused=True)
        chosen, *rest = found
        return chosen, rest[0] if rest else None


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
