"""The losses beside DPO, APO, SLiC and SFT say what their papers and TRL say."""

from __future__ import annotations

from collections.abc import Mapping
from math import exp, log
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpt import Batch, Logps, Loss, TokenLogps
from cpt.testing import LossContract, MonotoneLossContract, fake_batch
from cpt_apo.losses import ApoHingeZero, ApoZero, ApoZeroUnpaired
from cpt_dpo import Dpo
from cpt_losses.length import D2po, DpoNorm, LdDpo
from cpt_losses.noise import Cdpo, Robust
from cpt_losses.pointwise import Bco, Kto, Nca
from cpt_losses.reference_free import Cpo, Orpo, SimPo
from cpt_losses.shaped import BetaDpo, DiscoPop, Dpop, DpoShift, Exo, FocalPo, Wpo
from cpt_losses.targets import Hinge, Ipo, Sppo

from .test_losses import batch_of, one, sigmoid, value

# What every loss promises


MONOTONE: list[Loss] = [
    ApoHingeZero(beta=0.3),
    ApoZeroUnpaired(beta=0.3, desirable_weight=2.0),
    DpoNorm(beta=2.0, margin=0.5),
    SimPo(margin=1.0),
    Kto(beta=0.3, undesirable_weight=1.5),
    Orpo(beta=0.5),
    Wpo(beta=0.3),
    Cpo(over="mean", margin=0.1),
    Robust(beta=0.3),
    Cdpo(beta=0.01),
    Dpop(penalty=5.0),
    LdDpo(alpha=0.3),
    LdDpo(of="policy"),
    Bco(beta=0.3, decay=0.9),
    BetaDpo(alpha=0.3),
    DpoShift(f_end=1.0),
    Hinge(beta=0.3),
    D2po(gamma=0.9),
]
"""Losses that always raise the chosen answer and lower the rejected one."""
OTHERS: list[Loss] = [
    Ipo(beta=0.3),
    Ipo(over="mean"),
    Nca(beta=0.3),
    Exo(),
    Sppo(),
    DiscoPop(),
    FocalPo(gamma=2.0),
]


class TestMonotone(MonotoneLossContract):
    @pytest.fixture(autouse=True, params=MONOTONE, ids=repr)
    def _of(self, request: pytest.FixtureRequest) -> None:
        self.component = request.param


class TestOthers(LossContract):
    @pytest.fixture(autouse=True, params=OTHERS, ids=repr)
    def _of(self, request: pytest.FixtureRequest) -> None:
        self.component = request.param


# Golden values: log pi = -40, -55 and log pi_ref = -38, -47, of 20 and 25 tokens

GOLDEN: list[tuple[Loss, float]] = [
    (Hinge(), 0.4),
    (Cdpo(), 0.497488),
    (Robust(), 0.362488),
    (Ipo(), 1.0),
    (Ipo(over="mean"), 22.8484),
    (Exo(), 1.798271),
    (Nca(), 1.282759),
    (Bco(), 1.169240),
    (Bco(shift=False), 1.169240),
    (Sppo(), 58.0),
    (Sppo(probability="hard"), 58.0),
    (DiscoPop(beta=0.1), 0.548811),
    (DpoNorm(), 0.287335),
    (SimPo(), 1.037488),
    (Orpo(), 2.058564),
    (Cpo(imitation=0.0), 0.201413),
    (Cpo(), 40.201413),
    (Cpo(over="mean"), 2.201413),
    (Dpop(beta=0.1), 9.400083),
    (DpoShift(), 0.451845),
    (FocalPo(), 0.428022),
    (BetaDpo(), 0.437488),
    (ApoZeroUnpaired(), -0.140140),
    (ApoHingeZero(), 1.2 + 0.2),
    (Wpo(), 0.437488 * exp(-40 / 20 - 55 / 25)),
]


@pytest.mark.parametrize(("loss", "expected"), GOLDEN, ids=[repr(loss) for loss, _ in GOLDEN])
def test_golden_values(loss: Loss, expected: float) -> None:
    assert value(loss, one((-40.0, -55.0))) == pytest.approx(expected, abs=2e-6)


def with_mismatched(batch: Batch, ratio: float) -> Batch:
    policy = torch.tensor([ratio], dtype=torch.float64)
    other = Logps(policy=policy, reference=torch.zeros_like(policy), length=torch.tensor([3]))
    return attrs.evolve(batch, mismatched=other)


def test_kto_of_a_pair_is_that_of_its_good_and_its_bad_answer() -> None:
    pair = with_mismatched(one((-40.0, -55.0)), 0.5)
    good, bad = 0.562177, 0.299433
    assert value(Kto(), pair) == pytest.approx(good + bad, abs=2e-6)
    assert value(Kto(desirable_weight=2.0), pair) == pytest.approx(2 * good + bad, abs=2e-6)
    assert value(Kto(undesirable_weight=0.0), pair) == pytest.approx(good, abs=2e-6)


def test_the_divergence_of_kto_is_never_below_zero_and_has_no_gradient() -> None:
    below, zero = (with_mismatched(one((-40.0, -55.0)), ratio) for ratio in (-3.0, 0.0))
    assert value(Kto(), below) == value(Kto(), zero)
    assert Kto().metrics(below)["kl"].tolist() == [0.0]
    assert not Kto().metrics(with_mismatched(below, 2.0))["kl"].requires_grad


ratios = st.floats(-40, 10)
POINTWISE = [Kto(beta=0.3), ApoZeroUnpaired(beta=0.3, undesirable_weight=2.0), Bco(beta=0.3)]


@pytest.mark.parametrize("loss", POINTWISE, ids=repr)
@given(chosen=ratios, rejected=ratios, other=ratios)
def test_single_answers_add_up_to_their_pair(
    loss: Loss, chosen: float, rejected: float, other: float
) -> None:
    """So that unpaired data and the same data in pairs are one training."""
    pair = with_mismatched(one((chosen, rejected), (0.0, 0.0)), other)
    pair = attrs.evolve(pair, carried={"delta": 0.4, "steps": 3.0})
    nowhere = torch.tensor([False])
    good = attrs.evolve(pair, rejected=pair.rejected.where(nowhere))
    bad = attrs.evolve(pair, chosen=pair.chosen.where(nowhere))
    assert value(loss, good) + value(loss, bad) == pytest.approx(value(loss, pair), abs=1e-9)


@given(chosen=ratios, rejected=ratios)
def test_apo_zero_unpaired_is_apo_zero_on_pairs(chosen: float, rejected: float) -> None:
    pair = one((chosen, rejected), (0.0, 0.0))
    assert value(ApoZeroUnpaired(), pair) == pytest.approx(value(ApoZero(), pair), abs=1e-12)


# The same at the edge of an option


SAME: list[tuple[Loss, Loss]] = [
    (Cdpo(label_smoothing=0.2), Dpo(label_smoothing=0.2)),
    (Robust(label_smoothing=0.0), Dpo()),
    (FocalPo(gamma=0.0), Dpo()),
    (DpoShift(f=1.0), Dpo()),
    (Dpop(beta=0.1, penalty=0.0), Dpo()),
    (BetaDpo(), Dpo()),
    (LdDpo(alpha=1.0), Dpo()),
    (D2po(gamma=1.0), Dpo()),
    (Dpop(beta=0.1, penalty=0.0, margin=0.7), Dpo(margin=0.7)),
    (LdDpo(alpha=1.0, margin=0.7), Dpo(margin=0.7)),
    (D2po(gamma=1.0, margin=0.7), Dpo(margin=0.7)),
    (DpoShift(f=0.5, f_end=1.5 - 0.5), DpoShift(f=0.75)),
]


@pytest.mark.parametrize(("loss", "other"), SAME, ids=[repr(loss) for loss, _ in SAME])
def test_the_same_loss_where_an_option_says_so(loss: Loss, other: Loss) -> None:
    batch = fake_batch()
    assert loss(batch).tolist() == pytest.approx(other(batch).tolist(), abs=1e-6)


MARGINS: list[Any] = [Dpo, Cdpo, Robust, Hinge, DpoNorm, SimPo, Cpo, Wpo, Exo, DiscoPop, FocalPo]
MARGINS += [Dpop, DpoShift, BetaDpo, LdDpo, D2po]


@pytest.mark.parametrize("loss", MARGINS, ids=lambda loss: loss.name)
def test_a_margin_asks_for_a_larger_gap(loss: Any) -> None:
    """0.5 a unit asks for the same as each reward gap less 0.5 times the pair's margin."""
    batch = attrs.evolve(fake_batch(pairs=2), margin=torch.tensor([2.0, float("nan")]))
    plain, asked = loss()(batch), loss(margin=0.5)(batch)
    assert plain[0] != asked[0]
    assert plain[1] == asked[1]


def test_dpo_with_a_margin_is_odpo() -> None:
    batch = attrs.evolve(one((-40.0, -55.0)), margin=torch.tensor([3.0]))
    expected = -log(sigmoid(0.6 - 0.2 * 3))
    assert value(Dpo(margin=0.2), batch) == pytest.approx(expected, abs=1e-6)


# Scores, tokens and steps


def test_sppo_takes_the_probability_from_scores() -> None:
    scored = attrs.evolve(
        one((-40.0, -55.0)), chosen_score=torch.tensor([1.0]), rejected_score=torch.tensor([0.0])
    )
    target = (sigmoid(1.0) - 0.5) / 0.1
    expected = (-2 - target) ** 2 + (-8 + target) ** 2
    assert value(Sppo(), scored) == pytest.approx(expected, rel=1e-6)
    assert value(Sppo(probability="hard"), scored) == pytest.approx(58.0)


def by_token(policy: list[float], reference: list[float]) -> Logps:
    made = torch.tensor([policy]), torch.tensor([reference])
    tokens = TokenLogps(policy=made[0], reference=made[1], mask=torch.ones_like(made[0]).bool())
    return Logps(
        policy=made[0].sum(1),
        reference=made[1].sum(1),
        length=torch.tensor([len(policy)]),
        tokens=tokens,
    )


def test_ld_dpo_and_d2po_weigh_tokens() -> None:
    chosen = by_token([-1.0, -2.0, -3.0], [-2.0, -2.0, -2.0])
    rejected = by_token([-3.0], [-1.0])
    batch = batch_of(chosen, rejected)
    gap = (1 + 0.5 * 0 + 0.5 * -1) - (-2)
    assert value(LdDpo(), batch) == pytest.approx(-log(sigmoid(0.1 * gap)), abs=1e-6)
    policy = (-1 + 0.5 * -2 + 0.5 * -3) - -6 - (-2)
    assert value(LdDpo(of="policy"), batch) == pytest.approx(-log(sigmoid(0.1 * policy)), abs=1e-6)
    discounted = (1 + 0.9 * 0 + 0.81 * -1) - (-2)
    found = value(D2po(gamma=0.9), batch)
    assert found == pytest.approx(-log(sigmoid(0.1 * discounted)), abs=1e-6)


def test_beta_follows_the_mean_gap_of_the_step_before() -> None:
    loss = BetaDpo(beta=0.1, alpha=0.5, momentum=0.9)
    carried: Mapping[str, float] = {}
    for gap, beta in ((2.0, 0.1), (1.0, 0.1 * (1 + 0.5 * 2.0)), (0.0, 0.1 * (1 + 0.5 * 0.8))):
        batch = attrs.evolve(one((-40.0, -55.0)), carried=carried)
        assert loss.metrics(batch)["beta"].tolist() == pytest.approx([beta])
        assert value(loss, batch) == pytest.approx(-log(sigmoid(beta * 6)), abs=1e-6)
        carried = loss.carry(carried, {"gap": gap, "beta": beta})
    wrong_way = attrs.evolve(batch, carried={"gap": -100.0, "center": 0.0})
    assert loss.metrics(wrong_way)["beta"].tolist() == pytest.approx([1e-3])


def test_the_shift_of_bco_is_the_mean_reward_of_the_steps_before() -> None:
    every, decayed = Bco(), Bco(decay=0.5)
    means: Mapping[str, float] = {}
    moving: Mapping[str, float] = {}
    for reward in (2.0, 4.0, 9.0):
        means = every.carry(means, {"reward": reward})
        moving = decayed.carry(moving, {"reward": reward})
    assert means["delta"] == pytest.approx(5.0)
    assert moving["delta"] == pytest.approx(0.5 * (0.5 * 2 + 0.5 * 4) + 0.5 * 9)
    batch = attrs.evolve(one((-40.0, -55.0)), carried=means)
    expected = -log(sigmoid(-0.2 - 5)) - log(sigmoid(5 + 0.8))
    assert value(every, batch) == pytest.approx(expected, abs=1e-6)
    assert value(Bco(shift=False), batch) == pytest.approx(1.169240, abs=1e-6)


def test_bco_measures_the_answers_that_are_there() -> None:
    batch = fake_batch()
    some = torch.tensor([True, False, True, False])
    alone = attrs.evolve(
        batch, chosen=batch.chosen.where(some), rejected=batch.rejected.where(~some)
    )
    expected = torch.where(some, batch.chosen.ratio, batch.rejected.ratio)
    assert Bco(beta=1.0).metrics(alone)["reward"].allclose(expected)


numbers = st.floats(-200, -1)


@pytest.mark.parametrize(
    "loss", [loss for loss, _ in GOLDEN if not isinstance(loss, Wpo)], ids=repr
)
@given(given_=st.tuples(numbers, numbers, numbers, numbers))
def test_gradients_are_those_of_the_value(
    loss: Loss, given_: tuple[float, float, float, float]
) -> None:
    chosen, rejected, *reference = given_
    at = (chosen, rejected)
    if isinstance(loss, Hinge | ApoHingeZero | Dpop):  # corners have no gradient
        ratios_ = (chosen - reference[0], rejected - reference[1])
        corners = (ratios_[0] - 10, ratios_[1] + 10, ratios_[0], ratios_[0] - ratios_[1] - 10)
        if min(map(abs, corners)) < 1e-2:
            return
    batch = one(at, tuple(reference))  # type: ignore[arg-type]
    loss(batch).sum().backward()
    step = 1e-4
    for side, up in ((batch.chosen, (step, 0.0)), (batch.rejected, (0.0, step))):
        values = [
            value(loss, one((chosen + sign * up[0], rejected + sign * up[1]), tuple(reference)))  # type: ignore[arg-type]
            for sign in (1, -1)
        ]
        finite = (values[0] - values[1]) / (2 * step)
        found = 0.0 if side.policy.grad is None else side.policy.grad.item()
        assert found == pytest.approx(finite, rel=1e-4, abs=1e-4)


def test_a_reward_is_per_token_where_the_loss_is() -> None:
    side = one((-40.0, -55.0)).chosen
    assert DpoNorm().reward(side).item() == pytest.approx(5 * -2 / 20)
    assert SimPo().reward(side).item() == pytest.approx(2 * -40 / 20)
    assert Dpo().reward(side).item() == pytest.approx(0.1 * -2)
