"""Weights in bf16, states of few bits, DoRA and QLoRA: they learn, and resume to the bit."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cpt import CptError
from cpt.training.forward.loading import formats
from cpt.training.optimizer import adamw as optimizer
from cpt.training.optimizer.adamw import make_optimizer, set_rate, stepping
from cpt.training.options import Training

from . import tiny

BF16: dict[str, Any] = {"weights": "bf16", "precision": "bf16"}
WAYS: dict[str, dict[str, Any]] = {
    "bf16": BF16,
    "bf16 and 8-bit": {**BF16, "optimizer": "adamw_8bit"},
    "bf16 and 4-bit": {**BF16, "optimizer": "adamw_4bit"},
    "bf16 and fp8": {**BF16, "optimizer": "adamw_fp8"},
    "dora": {"lora_rank": 2, "dora": True},
    "lora on bf16, 8-bit": {**BF16, "lora_rank": 2, "optimizer": "adamw_8bit"},
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tiny.folder(tmp_path_factory.mktemp("model") / "base")


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in tiny.read(run)]


@pytest.mark.parametrize("way", WAYS)
def test_it_learns_from_ln_2_and_resumes_to_the_bit(tmp_path: Path, model: Path, way: str) -> None:
    def stop(event: str, **facts: Any) -> None:
        if (event, facts.get("step")) == ("cpt_step_ended", 3):
            raise InterruptedError

    asked: dict[str, Any] = {
        "batch_size": 4,
        "log_every": 1,
        "checkpoint_every": 2,
        "epochs": 2,
        "warmup": 0.0,
    }
    asked |= {"learning_rate": 2e-2, **WAYS[way]}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    tiny.train(whole, model, tiny.pairs(8), **asked)
    with pytest.raises(InterruptedError):
        tiny.train(broken, model, tiny.pairs(8), notify=stop, **asked)
    tiny.train(broken, model, tiny.pairs(8), **asked)
    assert losses(whole)[0] == pytest.approx(0.693147, abs=1e-6)
    assert losses(whole)[-1] < 0.6
    assert losses(broken) == losses(whole)
    trained, again = (load_file(run / "model" / "model.safetensors") for run in (whole, broken))
    assert all(torch.equal(again[name], weight) for name, weight in trained.items())


def weight_after(steps: int, rate: float, **options: Any) -> torch.Tensor:
    """A weight of many equal numbers, each pushed by the same gradient."""
    layer = torch.nn.Linear(64, 64, bias=False, dtype=torch.bfloat16)
    torch.nn.init.ones_(layer.weight)
    made = make_optimizer(layer, Training(**BF16, **options))
    for step in range(steps):
        layer.weight.grad = torch.ones_like(layer.weight)
        set_rate(made, rate)
        with stepping(Training(**BF16), torch.device("cpu"), (1, step)):
            made.step()
    return layer.weight.detach().float()


@pytest.mark.parametrize("kind", ["adamw", "adamw_8bit"])
def test_steps_below_the_spacing_of_bf16_are_kept_on_average(kind: Any) -> None:
    """16 steps of 1e-4 move 1 by a fifth of the spacing below it, 1/256."""
    moved = 1 - weight_after(16, 1e-4, optimizer=kind)
    assert set((256 * moved).unique().tolist()) <= set(range(8))
    assert float(moved.mean()) == pytest.approx(16e-4, rel=0.1)
    assert not (1 - torch.ones(64, 64, dtype=torch.bfloat16).sub_(1e-4)).any()


def test_what_is_kept_of_the_state_is_in_few_bits_but_for_small_tensors() -> None:
    layer = torch.nn.Linear(64, 64, dtype=torch.bfloat16)
    made = make_optimizer(layer, Training(**BF16, optimizer="adamw_8bit"))
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    with stepping(Training(**BF16), torch.device("cpu"), (1, 1)):
        made.step()
    assert made.state[layer.weight]["exp_avg_sq"].codes.dtype == torch.uint8
    assert made.state[layer.bias]["exp_avg_sq"].dtype == torch.float32
    assert layer.weight.dtype == torch.bfloat16


@pytest.mark.parametrize("kind", ["_AdamW", "AdamW8bit", "AdamW4bit", "AdamWFp8"])
def test_a_step_by_rows_is_the_step_of_all_at_once(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of 96 numbers, so that a block of a quantized state is never one of them."""

    def stepped(at_once: int) -> torch.Tensor:
        monkeypatch.setattr(optimizer, "AT_ONCE", at_once)
        weight = torch.linspace(-1, 1, 128 * 96).reshape(128, 96).requires_grad_()
        scale = torch.tensor(1.0, requires_grad=True)
        made = optimizer._class(kind)([weight, scale], lr=0.1)
        for step in range(3):
            weight.grad = torch.cos(weight.detach() + step)
            scale.grad = torch.ones(())
            made.step()
        assert scale < 0.8
        return weight.detach()

    assert torch.equal(stepped(10**9), stepped(1000))
    assert len(list(optimizer._rows(torch.empty(128, 96)))) == 16


def test_the_random_numbers_of_a_step_disturb_no_others() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    weight_after(2, 1e-4)
    torch.manual_seed(5)
    with stepping(Training(**BF16), torch.device("cpu"), (1, 1)):
        torch.rand(7)
    assert torch.equal(torch.rand(3), wanted)


def test_an_adapter_on_bf16_weights_is_merged_without_losing_what_it_learned(
    tmp_path: Path, model: Path
) -> None:
    asked = {"batch_size": 4, "epochs": 2, "learning_rate": 1e-3, "lora_rank": 2}
    tiny.train(tmp_path, model, tiny.pairs(8), **asked, **BF16)
    merged = load_file(tmp_path / "model" / "model.safetensors")
    base = load_file(model / "model.safetensors")
    adapter = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    name = "model.layers.0.mlp.up_proj"
    a, b = (adapter[f"base_model.model.{name}.lora_{half}.weight"] for half in "AB")
    change = merged[f"{name}.weight"] - base[f"{name}.weight"]
    assert torch.allclose(change, 2 * b.float() @ a.float(), atol=1e-7) and change.any()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"weights": "bf16"}, "must be fp32 with precision fp32; bf16 needs bf16"),
        ({"weights": "nf4", "precision": "bf16"}, "must not be nf4 without lora_rank"),
        ({"dora": True}, "must be false without lora_rank"),
    ],
)
def test_what_does_not_go_together_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Training(**wrong)


@pytest.mark.parametrize(
    ("module", "options", "says"),
    [
        (optimizer, {"optimizer": "adamw_4bit"}, r"train.optimizer adamw_4bit: .*\[low-bit\]"),
        (optimizer, BF16, r"train.weights bf16: .*\[low-bit\]"),
        (
            formats,
            {"weights": "nf4", "precision": "bf16", "lora_rank": 2},
            r"train.weights nf4: .*\[qlora\]",
        ),
    ],
)
def test_a_missing_package_is_one_line_before_a_model_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, options: Any, says: str
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(CptError, match=says):
        tiny.train(tmp_path / "run", tmp_path / "nowhere", tiny.pairs(4), **options)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
def test_qlora_trains_adapters_on_four_bits(tmp_path: Path) -> None:
    # Whole blocks of bitsandbytes' kernel on a CPU.
    shape = {"hidden_size": 64, "intermediate_size": 128, "num_key_value_heads": 4}
    model = tiny.folder(tmp_path / "base", **shape, num_attention_heads=4, head_dim=16)
    asked: dict[str, Any] = {
        "batch_size": 4,
        "log_every": 1,
        "epochs": 3,
        "learning_rate": 1e-2,
        "warmup": 0.0,
    }
    asked |= {"weights": "nf4", "precision": "bf16", "lora_rank": 2}
    tiny.train(tmp_path, model, tiny.pairs(8), **asked)
    assert losses(tmp_path)[0] == pytest.approx(0.693147, abs=1e-6)
    assert losses(tmp_path)[-1] < 0.6
    merged = load_file(tmp_path / "model" / "model.safetensors")
    assert all(weight.dtype == torch.float32 for weight in merged.values())
