"""The losses say what their papers say: values and gradients, written out."""

from __future__ import annotations

from math import exp, log, log1p

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpt import Batch, Logps, Loss
from cpt_apo.losses import ApoDown, ApoZero
from cpt_dpo import Dpo
from cpt_slic import Sft, Slic

LOSSES: list[Loss] = [
    ApoZero(beta=0.3),
    ApoDown(beta=0.3),
    Dpo(beta=0.3),
    Dpo(beta=0.3, label_smoothing=0.2),
    Sft(),
    Sft(over="sum"),
    Slic(delta=2.0, imitation=0.5),
    Slic(over="mean"),
]


def sigmoid(z: float) -> float:
    return 1 / (1 + exp(-z))


def side(policy: list[float], reference: list[float], length: list[int]) -> Logps:
    return Logps(
        policy=torch.tensor(policy, dtype=torch.float64, requires_grad=True),
        reference=torch.tensor(reference, dtype=torch.float64),
        length=torch.tensor(length),
    )


def batch_of(chosen: Logps, rejected: Logps) -> Batch:
    unknown = torch.full_like(chosen.policy.detach(), float("nan"))
    return Batch(
        ids=("pair",) * len(unknown),
        prompt_infos=({},) * len(unknown),
        chosen=chosen,
        rejected=rejected,
        tier=torch.zeros(len(unknown), dtype=torch.int64),
        margin=unknown,
        chosen_score=unknown,
        rejected_score=unknown,
    )


def one(policy: tuple[float, float], reference: tuple[float, float] = (-38.0, -47.0)) -> Batch:
    """A pair whose answers have 20 and 25 tokens."""
    (chosen, rejected), (ref_chosen, ref_rejected) = policy, reference
    return batch_of(side([chosen], [ref_chosen], [20]), side([rejected], [ref_rejected], [25]))


def value(loss: Loss, batch: Batch) -> float:
    return float(loss(batch).item())


@pytest.fixture
def example() -> Batch:
    """log pi = -40, -55 and log pi_ref = -38, -47: log-ratios -2 and -8, a gap of 6."""
    return one((-40.0, -55.0))


def test_slic_of_the_paper(example: Batch) -> None:
    # The gap of 15 is beyond delta = 1: the hinge is shut and 1 * 40 remains.
    assert value(Slic(), example) == pytest.approx(40.0, abs=1e-5)
    # The other way round: max(0, 1 + 55 - 40) + 55.
    assert value(Slic(), one((-55.0, -40.0))) == pytest.approx(16.0 + 55.0, abs=1e-5)


def test_slic_over_token_means(example: Batch) -> None:
    chosen, rejected = -40 / 20, -55 / 25
    expected = max(0.0, 1 - chosen + rejected) - chosen
    assert expected == pytest.approx(2.8)
    assert value(Slic(over="mean"), example) == pytest.approx(expected, abs=1e-5)


def test_dpo(example: Batch) -> None:
    expected = -log(sigmoid(0.1 * 6))
    assert expected == pytest.approx(0.437488, abs=1e-6)
    assert value(Dpo(), example) == pytest.approx(expected, abs=1e-5)


def test_conservative_dpo(example: Batch) -> None:
    expected = -0.9 * log(sigmoid(0.6)) - 0.1 * log(sigmoid(-0.6))
    assert expected == pytest.approx(0.497488, abs=1e-6)
    assert value(Dpo(label_smoothing=0.1), example) == pytest.approx(expected, abs=1e-5)


def test_apo_zero(example: Batch) -> None:
    expected = -sigmoid(0.1 * -2) + sigmoid(0.1 * -8)
    assert expected == pytest.approx(-0.140140, abs=1e-6)
    assert value(ApoZero(), example) == pytest.approx(expected, abs=1e-5)


def test_apo_down(example: Batch) -> None:
    expected = sigmoid(0.1 * -2) - sigmoid(0.1 * 6)
    assert expected == pytest.approx(-0.195490, abs=1e-6)
    assert value(ApoDown(), example) == pytest.approx(expected, abs=1e-5)


def test_sft(example: Batch) -> None:
    assert value(Sft(), example) == pytest.approx(40 / 20, abs=1e-5)
    assert value(Sft(over="sum"), example) == pytest.approx(40.0, abs=1e-5)


def sigmoid_grad(z: float) -> float:
    """delta(z) of the paper: sigmoid(z) (1 - sigmoid(z))."""
    return sigmoid(z) * (1 - sigmoid(z))


@pytest.mark.parametrize(
    ("loss", "chosen", "rejected"),
    [
        (ApoZero(), -0.1 * sigmoid_grad(-0.2), 0.1 * sigmoid_grad(-0.8)),
        (ApoDown(), 0.1 * (sigmoid_grad(-0.2) - sigmoid_grad(0.6)), 0.1 * sigmoid_grad(0.6)),
        (Dpo(), -0.1 * sigmoid(-0.6), 0.1 * sigmoid(-0.6)),
        (Slic(), -1.0, 0.0),
        (Sft(), -1 / 20, 0.0),
    ],
)
def test_gradients_at_the_example(
    loss: Loss, chosen: float, rejected: float, example: Batch
) -> None:
    loss(example).sum().backward()
    assert example.chosen.policy.grad is not None
    assert example.chosen.policy.grad.item() == pytest.approx(chosen, abs=1e-9)
    found = example.rejected.policy.grad
    assert (0.0 if found is None else found.item()) == pytest.approx(rejected, abs=1e-9)


def test_the_gradients_of_apo_that_the_paper_implies() -> None:
    at_start = one((-38.0, -47.0))
    ApoZero()(at_start).sum().backward()
    assert at_start.chosen.policy.grad.item() == pytest.approx(-0.1 / 4)  # type: ignore[union-attr]
    assert at_start.rejected.policy.grad.item() == pytest.approx(0.1 / 4)  # type: ignore[union-attr]
    at_start = one((-38.0, -47.0))
    ApoDown()(at_start).sum().backward()
    assert at_start.chosen.policy.grad.item() == pytest.approx(0.0)  # type: ignore[union-attr]
    assert at_start.rejected.policy.grad.item() == pytest.approx(0.1 / 4)  # type: ignore[union-attr]


logps = st.floats(-200, -1)
four = st.tuples(logps, logps, logps, logps)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@given(numbers=four)
def test_gradients_are_those_of_the_value(
    loss: Loss, numbers: tuple[float, float, float, float]
) -> None:
    chosen, rejected, *reference = numbers

    def at(up: float, down: float) -> float:
        return value(loss, one((chosen + up, rejected + down), tuple(reference)))  # type: ignore[arg-type]

    if isinstance(loss, Slic):  # a hinge has no gradient in its corner
        scale = (20, 25) if loss.over == "mean" else (1, 1)
        if abs(loss.delta - chosen / scale[0] + rejected / scale[1]) < 1e-3:
            return
    batch = one((chosen, rejected), tuple(reference))  # type: ignore[arg-type]
    loss(batch).sum().backward()
    step = 1e-4
    for found, finite in (
        (batch.chosen.policy.grad, (at(step, 0) - at(-step, 0)) / (2 * step)),
        (batch.rejected.policy.grad, (at(0, step) - at(0, -step)) / (2 * step)),
    ):
        assert (0.0 if found is None else found.item()) == pytest.approx(finite, abs=1e-5)


@given(numbers=four)
def test_dpo_is_slic_with_a_margin_of_its_own(numbers: tuple[float, float, float, float]) -> None:
    """As the curriculum paper reads it: delta' = log pi_ref(y_w) - log pi_ref(y_l), per pair."""
    chosen, rejected, ref_chosen, ref_rejected = numbers
    margin = ref_chosen - ref_rejected
    expected = log1p(exp(0.1 * (margin - (chosen - rejected))))
    found = value(Dpo(), one((chosen, rejected), (ref_chosen, ref_rejected)))
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_loss_reads_only_what_it_needs(loss: Loss) -> None:
    policy, length = torch.tensor([-3.0, -4.0]), torch.tensor([2, 3])
    reference = policy - 1 if "reference" in loss.needs else None
    side = Logps(policy=policy, reference=reference, length=length)
    nothing = torch.full((2,), float("nan"))
    batch = Batch(
        ids=("one", "two"),
        prompt_infos=({}, {}),
        tier=torch.tensor([1, 2]),
        chosen=side,
        rejected=side if "rejected" in loss.needs else None,
        margin=nothing,
        chosen_score=nothing,
        rejected_score=nothing,
    )
    assert loss(batch).shape == (2,)


def test_half_of_the_labels_cannot_be_wrong() -> None:
    with pytest.raises(ValueError, match="'label_smoothing' must be < "):
        Dpo(label_smoothing=0.5)
