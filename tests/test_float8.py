"""Layers that multiply in float8: which do, what comes out, what is refused. A CPU imitates it."""

from __future__ import annotations

import copy
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from cpt import CptError
from cpt.training.forward.loading import formats
from cpt.training.options import Training

from . import tiny
from .families import model_of

pytestmark = pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")

PAIRS = [*tiny.pairs(11), *tiny.ladder(2)]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Metrics of a training in each precision; of fp8 also in other calls."""
    path = tmp_path_factory.mktemp("float8")
    base = tiny.folder(path / "base")
    asked: dict[str, dict[str, Any]] = {
        "bf16": {"precision": "bf16"},
        "fp8": {"precision": "fp8"},
        "cut": {"precision": "fp8", "micro_tokens": 60},
        "twice": {"precision": "fp8", "gradient_checkpointing": True},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CPT_CACHE", str(path / "cache"))
        return {
            name: tiny.train(path / name, base, PAIRS, epochs=8, **options)
            for name, options in asked.items()
        }


def test_it_learns_as_bf16_does_and_is_not_bf16(lines: dict[str, Any]) -> None:
    first, last = lines["fp8"][0], lines["fp8"][-1]
    assert first["loss"] == pytest.approx(math.log(2), rel=1e-6)
    assert first["logps/chosen"] == pytest.approx(lines["bf16"][0]["logps/chosen"], abs=0.5)
    assert abs(first["logps/chosen"] - lines["bf16"][0]["logps/chosen"]) > 1e-3
    assert last["loss"] == pytest.approx(lines["bf16"][-1]["loss"], abs=0.05)
    assert last["rewards/accuracies"] == 1.0


def test_neither_cuts_nor_checkpoints_change_it(lines: dict[str, Any]) -> None:
    for other in ("cut", "twice"):
        assert lines[other][-1]["loss"] == pytest.approx(lines["fp8"][-1]["loss"], abs=5e-3)


def test_the_head_routers_and_odd_sizes_stay_and_hooks_are_kept() -> None:
    made = nn.ModuleDict(
        {
            "layer": nn.Linear(32, 48),
            "narrow": nn.Linear(32, 40),
            "gate": nn.Linear(32, 16),
            "gate_proj": nn.Linear(32, 16),
            "head": nn.Linear(32, 64),
        }
    )
    seen = []
    made["layer"].register_forward_hook(lambda *_: seen.append("hook"))
    formats.multiply_in_float8(made, made["head"], CPU)
    changed = {name for name, layer in made.items() if type(layer) is not nn.Linear}
    assert changed == {"layer", "gate_proj"}
    assert made["layer"](torch.randn(3, 32)).shape == (3, 48)
    assert seen == ["hook"]


def test_the_router_of_a_mixture_stays() -> None:
    made = copy.deepcopy(model_of("qwen2_moe"))
    formats.multiply_in_float8(made, made.get_output_embeddings(), CPU)
    kinds = {name: type(part).__name__ for name, part in made.named_modules()}
    assert kinds["model.layers.0.self_attn.q_proj"] == "Float8Linear"
    assert "Float8Linear" not in {kind for name, kind in kinds.items() if name.endswith("gate")}


def test_a_gpu_that_cannot_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "A100")
    with pytest.raises(CptError, match="A100 does not multiply in float8"):
        formats.multiply_in_float8(tiny.model(), None, torch.device("cuda"))


def test_it_needs_torchao(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny.folder(tmp_path / "base")
    monkeypatch.setattr("cpt.training.optimizer.adamw.find_spec", lambda _: None)
    with pytest.raises(CptError, match="precision fp8: torchao is not installed"):
        tiny.train(tmp_path / "run", base, PAIRS, precision="fp8")


def test_adapters_are_refused() -> None:
    with pytest.raises(ValueError, match="'lora_rank' must be 0 with precision fp8"):
        Training(precision="fp8", lora_rank=4)
