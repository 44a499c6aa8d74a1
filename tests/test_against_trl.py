"""Where TRL has a loss, it computes the same numbers from the same log-probabilities.

Runs where TRL is installed (the extra `benchmarks`), without a model: TRL's own step is given
random log-probabilities in place of a model's.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
from torch import Tensor, nn

from cpt import Batch, Logps, Loss, TokenLogps
from cpt_apo.losses import ApoDown, ApoZero, ApoZeroUnpaired
from cpt_dpo import Dpo
from cpt_losses.length import DpoNorm, LdDpo
from cpt_losses.noise import Robust
from cpt_losses.pointwise import Bco, Kto, Nca
from cpt_losses.reference_free import Cpo, Orpo, SimPo
from cpt_losses.shaped import DiscoPop, Exo
from cpt_losses.targets import Hinge, Ipo, Sppo

from .test_losses import batch_of

pytest.importorskip("trl", reason="TRL is not installed")

PAIRS, LONGEST = 7, 11
TRL: list[tuple[Loss, str, dict[str, Any], float]] = [
    (Dpo(), "sigmoid", {}, 0.0),
    (Hinge(), "hinge", {}, 0.0),
    (Ipo(over="mean"), "ipo", {}, 0.0),
    (Exo(), "exo_pair", {"label_smoothing": 1e-3}, 0.0),
    (Nca(), "nca_pair", {}, 0.0),
    (Robust(), "robust", {"label_smoothing": 0.1}, 0.0),
    (Bco(shift=False), "bco_pair", {}, 0.0),
    (Sppo(probability="hard"), "sppo_hard", {}, 0.0),
    (ApoZero(), "apo_zero", {}, 1.0),
    (ApoDown(), "apo_down", {}, 1.0),
    (DiscoPop(), "discopop", {"beta": 0.05}, 0.0),
    (DpoNorm(), "sigmoid_norm", {"beta": 5.0}, 0.0),
    (LdDpo(alpha=0.3), "sigmoid", {"ld_alpha": 0.3}, 0.0),
]
"""Ours, TRL's name of it, its options, and what TRL adds."""


def side(seed: int) -> Logps:
    """Random log-probabilities, per token and summed."""
    draw = torch.Generator().manual_seed(seed)
    length = torch.randint(1, LONGEST + 1, (PAIRS,), generator=draw)
    mask = torch.arange(LONGEST) < length.unsqueeze(1)
    policy, reference = (
        -3 * torch.rand(PAIRS, LONGEST, generator=draw, dtype=torch.float64) * mask for _ in "pr"
    )
    return Logps(
        policy=policy.sum(1),
        reference=reference.sum(1),
        length=length,
        tokens=TokenLogps(policy=policy, reference=reference, mask=mask),
    )


def batch(seed: int = 0) -> Batch:
    return batch_of(side(seed), side(seed + 100))


class Given(nn.Module):
    """A model's place: returns what TRL asks of one, from given log-probabilities."""

    is_gradient_checkpointing = False

    def __init__(self, log_probs: Tensor) -> None:
        super().__init__()
        self.log_probs = log_probs
        self.eval()

    def forward(self, **_: Any) -> Any:
        zeros = torch.zeros_like(self.log_probs)
        return SimpleNamespace(
            log_probs=self.log_probs, entropy=zeros, mean_logits=zeros, is_top1=zeros.bool()
        )


def trainer(policy: Given, reference: Given, **options: Any) -> Any:
    same = SimpleNamespace(gather=_same, gather_for_metrics=_same, device=torch.device("cpu"))
    return SimpleNamespace(
        model=policy,
        ref_model=reference,
        accelerator=same,
        aux_loss_enabled=False,
        precompute_ref_logps=False,
        f_divergence_type="reverse_kl",
        use_weighting=False,
        loss_weights=[1.0],
        args=SimpleNamespace(gradient_checkpointing_kwargs=None, discopop_tau=0.05),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
        **{"beta": 0.1, "label_smoothing": 0.0, "ld_alpha": None} | options,
    )


def _same(values: Any) -> Any:
    return values


def tokens(batch: Batch, of: str) -> Tensor:
    """Chosen, then rejected, as TRL has them. Shape (2 * pairs, seq_len)."""
    return torch.cat([getattr(side.tokens, of) for side in (batch.chosen, batch.rejected)])


def inputs(batch: Batch) -> dict[str, Tensor]:
    """One token of a prompt before each answer."""
    mask = torch.cat([torch.zeros(2 * PAIRS, 1), tokens(batch, "mask").long()], dim=1).long()
    ids = torch.zeros_like(mask)
    return {"input_ids": ids, "attention_mask": torch.ones_like(mask), "completion_mask": mask}


@pytest.mark.parametrize(("loss", "name", "options", "adds"), TRL, ids=[row[1] for row in TRL])
@pytest.mark.parametrize("seed", range(3))
def test_trl_computes_the_same(
    loss: Loss, name: str, options: dict[str, Any], adds: float, seed: int
) -> None:
    from trl import DPOTrainer

    given = batch(seed)
    policy, reference = (Given(tokens(given, of)) for of in ("policy", "reference"))
    standing = trainer(policy, reference, loss_types=[name], **options)
    theirs = DPOTrainer._compute_loss(standing, policy, inputs(given), return_outputs=False)
    assert loss(given).mean().item() + adds == pytest.approx(float(theirs), rel=1e-7)


@pytest.mark.parametrize("loss", [Kto(undesirable_weight=1.5), ApoZeroUnpaired()], ids=repr)
def test_trl_computes_the_same_of_single_answers(loss: Any) -> None:
    from trl import KTOTrainer

    given, other = batch(), side(7)
    given = attrs.evolve(given, mismatched=other)
    policy, reference = (Given(tokens(given, of)) for of in ("policy", "reference"))
    standing = trainer(policy, reference, loss_type=loss.name)
    standing.desirable_weight = loss.desirable_weight
    standing.undesirable_weight = loss.undesirable_weight
    standing.calculate_KL = loss.name == "kto"
    standing._compute_kl_logps = lambda model, _: (
        other.policy if model is policy else other.reference
    )
    labels = torch.tensor([True] * PAIRS + [False] * PAIRS)
    theirs = KTOTrainer._compute_loss(
        standing, policy, inputs(given) | {"label": labels}, return_outputs=False
    )
    adds = 0.0 if loss.name == "kto" else 1.0
    # TRL's mean is over answers, ours over pairs.
    assert (loss(given).mean().item() + adds) / 2 == pytest.approx(float(theirs), rel=1e-6)


def test_trl_computes_the_same_without_a_reference() -> None:
    pytest.importorskip("trl.experimental.cpo", reason="TRL moved it")
    from trl.experimental.cpo import CPOTrainer
    from trl.experimental.orpo import ORPOTrainer

    given = batch()
    means = given.chosen.mean, given.rejected.mean
    here = SimpleNamespace(device="cpu")
    standing = SimpleNamespace(alpha=0.0, beta=2.0, label_smoothing=0.0, accelerator=here)
    standing.loss_type, standing.simpo_gamma = "simpo", 1.0
    simpo = CPOTrainer.cpo_loss(standing, *means)[0]
    assert SimPo()(given).tolist() == pytest.approx(simpo.tolist(), rel=1e-6)
    standing.loss_type, standing.beta = "sigmoid", 0.1
    cpo = CPOTrainer.cpo_loss(standing, given.chosen.policy, given.rejected.policy)[0]
    assert Cpo(imitation=0.0)(given).tolist() == pytest.approx(cpo.tolist(), rel=1e-6)
    odds = ORPOTrainer.odds_ratio_loss(standing, *means)[0]
    assert Orpo()(given).tolist() == pytest.approx((-means[0] - odds).tolist(), rel=1e-5)
