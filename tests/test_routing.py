"""A mixture of experts: the router's load-balancing loss, and how tokens are routed."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

from cpt import CptError
from cpt.training.data.packing import Layout, model_inputs
from cpt.training.data.sequences import TokenSequence
from cpt.training.forward.logps import SequenceLogps
from cpt.training.forward.routing import Routing
from cpt.training.options import Training

from . import tiny
from .families import config_of, random_model
from .training_process import Trainings

SIZES = {"vocab_size": len(tiny.tokenizer()), "max_position_embeddings": 256, "pad_token_id": 2}
LADDER = tiny.ladder(4)
LAYOUTS = {
    "packed": Layout(packed=True),
    "sharing a prompt": Layout(packed=True, shared=True),
    "padded": Layout(),
    "compact": Layout(compact=True),
    "alone": Layout(longest=0),
}


def moe() -> Any:
    return random_model(config_of("qwen3_moe", SIZES))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("moe")
    moe().save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))


def weights(run: Path) -> Mapping[str, Tensor]:
    return load_file(run / "model" / "model.safetensors")


def test_of_even_routing_the_loss_is_the_number_of_experts_per_token() -> None:
    logits = 9 * torch.eye(4).repeat(3, 1)
    even = Routing.of([(logits, logits)], top_k=1)
    assert float(even.aux_loss) == pytest.approx(1.0, abs=1e-6)
    assert float(even.load_max) == pytest.approx(0.25)
    crowded = Routing.of([(logits, logits[:1].expand(12, 4))], top_k=1)
    assert float(crowded.load_max) == pytest.approx((0.25 + 1) / 2)
    assert crowded.aux_loss > 1.2


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_real_tokens_count_and_a_shared_prompt_once(layout: str) -> None:
    model = moe()
    module = SequenceLogps(model)
    module.record_routing()
    prompt = range(40, 60)
    group = [TokenSequence(prompt, answer) for answer in (range(9, 30), (7, 8, 9), (4, 5))]
    (inputs,) = model_inputs([group], 4096, LAYOUTS[layout])
    module(inputs)
    routing = module.routing()
    assert routing.aux_loss.requires_grad
    logits: list[tuple[Tensor, ...]] = []
    for number, each in enumerate(group):
        read = [*each.prompt, *each.answer][: None if layout == "alone" else -1]
        output = model.model(input_ids=torch.tensor([read]), output_router_logits=True)
        again = layout in ("sharing a prompt", "compact") and number
        logits.append(tuple(layer[len(prompt) if again else 0 :] for layer in output.router_logits))
    wanted = load_balancing_loss_func(tuple(map(torch.cat, zip(*logits, strict=True))), 4, 2)
    assert float(routing.aux_loss.detach()) == pytest.approx(float(wanted), abs=1e-5)


def test_logging_it_changes_nothing_and_adding_it_evens_the_load(
    base: Path, tmp_path: Path
) -> None:
    def run(name: str, **options: Any) -> Any:
        return tiny.train(tmp_path / name, base, LADDER, epochs=4, **options)

    plain, logged, added = run("plain"), run("0", router_aux_loss=0), run("1", router_aux_loss=1)
    assert "router_aux_loss" not in plain[0]
    assert [line["loss"] for line in plain] == [line["loss"] for line in logged]
    before, zero = weights(tmp_path / "plain"), weights(tmp_path / "0")
    assert all(torch.equal(value, zero[name]) for name, value in before.items())
    assert added[0]["loss"] == plain[0]["loss"]
    assert added[0]["router_aux_loss"] == logged[0]["router_aux_loss"] > 2
    assert added[-1]["router_aux_loss"] < logged[-1]["router_aux_loss"] - 0.01
    assert 0.5 <= added[-1]["expert_load_max"] <= 1


def test_it_reaches_the_router_and_not_a_step_without_it(tmp_path: Path) -> None:
    model = moe()
    module = SequenceLogps(model)
    inputs = model_inputs([[TokenSequence([5, 6, 7], [8, 9])]], 99, module.layout)[0]
    module(inputs)
    assert not module._routed, "kept without being asked"
    module.record_routing()
    with torch.no_grad():
        module(inputs)
    assert not module._routed, "kept while scoring"
    module(inputs)
    module.routing().aux_loss.backward()
    routers = [layer.mlp.gate.weight.grad for layer in model.model.layers]
    assert all(grad is not None and grad.abs().sum() > 0 for grad in routers)


def test_activations_computed_twice_and_lora_give_the_same(base: Path, tmp_path: Path) -> None:
    options = {"router_aux_loss": 0.5}
    plain = tiny.train(tmp_path / "a", base, LADDER, **options)
    twice = tiny.train(tmp_path / "b", base, LADDER, gradient_checkpointing=True, **options)
    assert [line["grad_norm"] for line in twice] == pytest.approx(
        [line["grad_norm"] for line in plain], rel=1e-4
    )
    adapted = tiny.train(tmp_path / "c", base, LADDER, lora_rank=2, **options)
    assert adapted[0]["router_aux_loss"] == pytest.approx(plain[0]["router_aux_loss"], rel=1e-5)


def test_two_processes_weigh_it_by_tokens(base: Path, tmp_path: Path, trainings: Trainings) -> None:
    same = {"pairs": 4, "batch_size": 4, "router_aux_loss": 0.5, "micro_tokens": 1}
    for name, rest in {
        "one": {},
        "two": {"processes": 2},
        "parts": {"processes": 2, "sharded": True},
    }.items():
        assert not any(trainings(base, tmp_path / name, **same, **rest))
    one, two, parts = (tiny.read(tmp_path / name)[0] for name in ("one", "two", "parts"))
    for metric in ("loss", "router_aux_loss", "expert_load_max", "grad_norm"):
        assert two[metric] == pytest.approx(one[metric], rel=1e-4), metric
        assert parts[metric] == pytest.approx(one[metric], rel=1e-4), metric


def test_a_killed_training_goes_on_to_the_same_weights_and_metrics(
    base: Path, tmp_path: Path, trainings: Trainings
) -> None:
    same = {"pairs": 6, "batch_size": 2, "router_aux_loss": 0.5, "checkpoint_every": 1}
    same |= {"log_every": 3}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert trainings(base, whole, **same) == [0]
    die = [signal.SIGKILL, "cpt_checkpoint_saved", 1]
    assert trainings(base, broken, die=die, **same) == [-signal.SIGKILL]
    assert trainings(base, broken, **same) == [0]
    before, after = weights(whole), weights(broken)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    for metric in ("router_aux_loss", "expert_load_max"):
        assert tiny.read(broken)[-1][metric] == tiny.read(whole)[-1][metric]


def test_models_without_such_a_router_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CptError, match="router_aux_loss: LlamaForCausalLM has no router"):
        tiny.train(tmp_path / "run", tiny.folder(tmp_path / "llama"), LADDER, router_aux_loss=0.1)
    with pytest.raises(ValueError, match="must be unset with compile"):
        Training(router_aux_loss=0.1, compile=True)
