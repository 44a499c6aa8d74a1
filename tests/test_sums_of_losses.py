"""A weighted sum of losses is picked by its name, and every loss and sum learns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, ClassVar

import attrs
import pytest
import torch

import cpt_losses
from cpt import Batch, CptError, Loss
from cpt.config import options
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt.testing import LossContract, fake_batch
from cpt.training.loss import checks
from cpt_apo.losses import ApoDown, ApoHingeZero, ApoZero, ApoZeroUnpaired
from cpt_dpo import Dpo
from cpt_losses.pointwise import Bco
from cpt_slic import Sft, Slic

from . import tiny

BUNDLED: list[Any] = [
    *map(resolve_name, cpt_losses.cpt_losses().values()),
    *(ApoZero, ApoHingeZero, ApoZeroUnpaired),
]
REGISTRY = Registry.collect(load_plugins())
for part in (*BUNDLED, ApoDown, Dpo, Sft, Slic):  # whatever else offers these names here
    REGISTRY = REGISTRY.including(part)
SPELLED = {
    "test_the_name_is_easy_to_type": "it spells the sum",
    "test_every_option_says_what_it_is": "each part describes its own",
}


def summed(name: str, **parts: Any) -> Any:
    cls: Any = REGISTRY["loss", name]
    return cls(**parts)


class TestSum(LossContract):
    breaks: ClassVar = SPELLED
    component = summed("dpo+0.2*sft", dpo=Dpo(beta=0.3))


class TestSumOfSingleAnswers(LossContract):
    breaks: ClassVar = SPELLED
    component = summed("kto+0.5*bco+0.1*sft")


def test_it_is_the_weighted_sum() -> None:
    batch = fake_batch()
    found = summed("0.8*dpo+0.2*bco+sft", dpo=Dpo(beta=0.3))(batch)
    expected = 0.8 * Dpo(beta=0.3)(batch) + 0.2 * Bco()(batch) + Sft()(batch)
    assert found.tolist() == pytest.approx(expected.tolist())


def test_any_two_can_be_summed() -> None:
    batch = fake_batch()
    losses = [loss for loss in (*BUNDLED, Dpo, ApoDown, Sft, Slic) if "score" not in loss.needs]
    alone = {loss.name: loss()(batch) for loss in losses}
    assert len(alone) > 25
    for one, other in combinations(alone, 2):
        found = summed(f"{one}+0.5*{other}")(batch)
        assert torch.allclose(found, alone[one] + 0.5 * alone[other]), (one, other)


def test_it_needs_what_its_parts_need() -> None:
    assert REGISTRY["loss", "dpo+sft"].needs == {"rejected", "reference"}  # type: ignore[attr-defined]
    assert REGISTRY["loss", "simpo+sft"].needs == {"rejected"}  # type: ignore[attr-defined]
    assert not REGISTRY["loss", "kto+dpo"].unpaired  # type: ignore[attr-defined]
    assert REGISTRY["loss", "kto+0.1*sft"].unpaired  # type: ignore[attr-defined]


def test_two_mentions_are_one_component() -> None:
    assert REGISTRY["loss", "dpo+sft"] is REGISTRY["loss", "dpo+sft"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("dpo+", "write a sum of losses as LOSS+WEIGHT*LOSS"),
        ("dpo+0*sft", "the weight '0' of a loss must be a number above 0"),
        ("dpo+nan*sft", "the weight 'nan' of a loss must be a number above 0"),
        ("dpo+much*sft", "the weight 'much' of a loss"),
        ("dpo+0.5*dpo", "the loss 'dpo' is in the sum twice"),
        ("bradley_terry+0.5*sft", "trains a reward model and sft a language model"),
        ("dpo+0.5*sfft", "No loss is called 'sfft'. Did you mean 'sft'?"),
    ],
)
def test_what_is_no_sum_is_refused_in_one_line(name: str, why: str) -> None:
    with pytest.raises(CptError, match=r".") as refused:
        REGISTRY["loss", name]
    assert why in str(refused.value) and "\n" not in str(refused.value)


def test_the_options_of_its_parts_have_addresses() -> None:
    found: Any = options.build(
        attrs.make_class("Run", {"loss": attrs.field(type=Loss)}),
        {"loss": {"name": "dpo+0.2*sft", "dpo": {"beta": "0.3"}, "sft": {"over": "sum"}}},
        REGISTRY,
    )
    assert found.loss == summed("dpo+0.2*sft", dpo=Dpo(beta=0.3), sft=Sft(over="sum"))
    with pytest.raises(CptError, match=r"loss.dpo.bta: no such option. Did you mean 'beta'"):
        options.build(
            attrs.make_class("Run", {"loss": attrs.field(type=Loss)}),
            {"loss": {"name": "dpo+sft", "dpo": {"bta": 1}}},
            REGISTRY,
        )


def test_the_metrics_of_its_parts_are_those_without_the_sum() -> None:
    batch = fake_batch()
    found = checks.metrics_of(summed("dpo+0.5*bco"), batch)
    assert set(found) == {"dpo/loss", "bco/loss", "bco/reward"}
    assert found["bco/reward"].equal(checks.metrics_of(Bco(), batch)["bco/reward"])


def test_each_part_carries_its_own() -> None:
    loss = summed("dpo+0.5*bco")
    carried = checks.carried_of(loss, {}, {"dpo/loss": 1.0, "bco/loss": 1.0, "bco/reward": 0.7})
    assert carried == {"bco/delta": pytest.approx(0.7), "bco/steps": 1.0}
    batch = attrs.evolve(fake_batch(), carried=carried)
    alone = attrs.evolve(batch, carried={"delta": 0.7, "steps": 1.0})
    assert loss(batch).tolist() == pytest.approx((Dpo()(batch) + 0.5 * Bco()(alone)).tolist())


# Training


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


SUMS = ["dpo+0.2*sft", "0.8*dpo+0.2*bco+sft", "kto+0.5*simpo"]
OPTIONS = {
    "sppo": {"beta": 0.05},
    "ipo": {"beta": 0.05},
    "dpop": {"penalty": 1.0},
    "beta_dpo": {"alpha": 0.1},
    "cpo": {"imitation": 0.1},
    "orpo": {"beta": 5.0},
    "discopop": {"tau": 0.9},
}


@pytest.mark.parametrize(
    "name", [*(loss.name for loss in BUNDLED if "score" not in loss.needs), *SUMS]
)
def test_every_loss_learns(tmp_path: Path, model: Path, name: str) -> None:
    """The chosen answers gain on the rejected ones."""
    cls: Any = REGISTRY["loss", name]
    loss = cls(**OPTIONS.get(name, {}))
    lines = tiny.train(tmp_path, model, tiny.pairs(8), loss=loss, epochs=6, learning_rate=3e-3)
    gaps = [line["logps/chosen"] - line["logps/rejected"] for line in lines]
    assert gaps[-1] > gaps[0] + 2
    assert all(torch.isfinite(torch.tensor(line["loss"])) for line in lines)


@attrs.frozen
class Counting(tiny.Sigmoid):
    """As `sigmoid`, and counts its steps."""

    name = "counting"

    def metrics(self, batch: Batch) -> Mapping[str, torch.Tensor]:
        steps = batch.carried.get("steps", 0.0)
        return {"steps": torch.full_like(batch.margin, steps), "length": batch.chosen.length}

    def carry(self, before: Mapping[str, float], means: Mapping[str, float]) -> Mapping[str, float]:
        return {"steps": before.get("steps", 0.0) + 1, "length": means["length"]}


def test_what_a_loss_carries_is_of_the_whole_step_and_in_the_checkpoint(
    tmp_path: Path, model: Path
) -> None:
    pairs = tiny.pairs(11)
    asked: dict[str, Any] = {"loss": Counting(), "epochs": 2, "checkpoint_every": 1}
    whole = tiny.train(tmp_path / "whole", model, pairs, micro_tokens=10_000, **asked)
    cut = tiny.train(tmp_path / "cut", model, pairs, micro_tokens=40, **asked)
    assert [line["counting/steps"] for line in whole] == [0.0, 1.0, 2.0, 3.0]
    kept = [
        json.loads((tmp_path / name / "checkpoints/step-00000003/state.json").read_text())
        for name in ("whole", "cut")
    ]
    expected = {"steps": 3.0, "length": pytest.approx(whole[2]["counting/length"])}
    assert kept[0]["carried"] == kept[1]["carried"] == expected
    assert [line["counting/steps"] for line in cut] == [0.0, 1.0, 2.0, 3.0]


@attrs.frozen
class Wrong(Counting):
    """Carries what is no number."""

    name = "wrong"

    def carry(self, before: Mapping[str, float], means: Mapping[str, float]) -> Mapping[str, float]:
        return {"steps": float("nan")}


def test_what_is_carried_must_be_finite(tmp_path: Path, model: Path) -> None:
    with pytest.raises(CptError, match=r"Loss 'wrong' carries .* must return finite numbers"):
        tiny.train(tmp_path, model, tiny.pairs(3), loss=Wrong())
