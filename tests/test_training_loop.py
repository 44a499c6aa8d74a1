"""The loop: what is learned, what is measured, what is written, what is refused."""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable, Iterator
from functools import partial
from inspect import signature
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import attrs
import pyarrow.parquet as pq
import pytest
import torch
from accelerate import Accelerator
from safetensors import safe_open
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.llama.modeling_llama import LlamaMLP

from cpt import Batch, CptError, Loss, hookspecs
from cpt.training import loop, objective, step
from cpt.training.accelerator import _count_for_deepspeed
from cpt.training.data.corpus import corpus_of
from cpt.training.data.packing import Layout
from cpt.training.data.sequences import TokenSequence
from cpt.training.forward.loading.model import checkpoint_activations, compile_layers
from cpt.training.options import Training
from cpt.training.reference.scoring import _by_prompt

from . import tiny
from .training_process import Trainings

PAIRS = [*tiny.pairs(11), *tiny.ladder(2)]
REFERENCES = "cpt_references_computed"
"""Reported only by the first training on some pairs: see `test_reference.py`."""
MEASURED = {
    *("loss", "logps/chosen", "logps/rejected", "grad_norm", "padding"),
    *("logratios/chosen", "logratios/rejected"),
    *("rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"),
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model") / "base")


def measured(line: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in line.items() if name in MEASURED}


def same(lines: Any, others: Any, rel: float = 1e-4) -> None:
    assert len(lines) == len(others)
    for line, other in zip(lines, others, strict=True):
        assert measured(line) == pytest.approx(measured(other), rel=rel, abs=1e-5)


def weights_of(folder: Path, file: str = "model.safetensors") -> dict[str, Tensor]:
    with safe_open(folder / file, framework="pt") as content:
        return {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118


# What is learned


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"precision": "bf16"},
        {"lora_rank": 8, "learning_rate": 1e-2},
        {"lora_rank": 8, "learning_rate": 1e-2, "gradient_checkpointing": True},
        {"loss": tiny.Anchored()},
    ],
    ids=str,
)
def test_rewards_begin_at_zero_exactly_and_the_margin_grows(
    tmp_path: Path, model: Path, options: dict[str, Any]
) -> None:
    lines = tiny.train(tmp_path, model, PAIRS, epochs=12, **options)
    first, last = lines[0], lines[-1]
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins"):
        assert first[name] == 0.0
    assert first["rewards/accuracies"] == 0.5  # a tie is half, as in `preference_accuracy`
    assert first["loss"] == pytest.approx(1.0 if "loss" in options else math.log(2), rel=1e-6)
    assert last["rewards/accuracies"] == 1.0
    assert last["rewards/margins"] > 1.0


@pytest.mark.parametrize("loss", [tiny.Sigmoid(), tiny.ByToken(), tiny.Anchored()], ids=str)
def test_how_a_step_is_cut_changes_nothing(tmp_path: Path, model: Path, loss: Loss) -> None:
    whole = tiny.train(tmp_path / "whole", model, PAIRS, loss=loss, micro_tokens=10_000)
    cut = tiny.train(tmp_path / "cut", model, PAIRS, loss=loss, micro_tokens=60)
    same(whole, cut)


def test_what_saves_memory_changes_nothing(tmp_path: Path, model: Path) -> None:
    plain = tiny.train(tmp_path / "plain", model, PAIRS)
    same(plain, tiny.train(tmp_path / "twice", model, PAIRS, gradient_checkpointing=True))
    same(plain, tiny.train(tmp_path / "token", model, PAIRS, loss=tiny.ByToken()))


def test_checkpointing_computes_activations_twice(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    forward, step = LlamaMLP.forward, loop._step

    def counted(self: LlamaMLP, hidden: Tensor) -> Tensor:
        calls.append(torch.is_grad_enabled())
        return forward(self, hidden)

    def watched(state: Any) -> float:  # what tries the model out before the first step is not meant
        with monkeypatch.context() as context:
            context.setattr(LlamaMLP, "forward", counted)
            return step(state)

    monkeypatch.setattr(loop, "_step", watched)
    tiny.train(tmp_path / "once", model, PAIRS)
    once = calls.count(True)
    tiny.train(tmp_path / "twice", model, PAIRS, gradient_checkpointing=True)
    assert calls.count(True) - once == 2 * once


@pytest.mark.parametrize(
    "asked",
    [
        {"pairs": 8, "batch_size": 9, "micro_tokens": 150},
        {"pairs": 0, "batch_size": 4, "loss": "Anchored", "checkpoint_every": 1},
        {"pairs": 2, "batch_size": 1},  # one process has nothing to do
    ],
    ids=str,
)
def test_two_processes_learn_what_one_does(
    tmp_path: Path, model: Path, trainings: Trainings, asked: dict[str, Any]
) -> None:
    assert trainings(model, tmp_path / "one", **asked) == [0]
    assert trainings(model, tmp_path / "two", processes=2, **asked) == [0, 0]
    same(tiny.read(tmp_path / "one"), tiny.read(tmp_path / "two"))
    one, two = (weights_of(tmp_path / run / "model") for run in ("one", "two"))
    for name, weight in one.items():
        torch.testing.assert_close(two[name], weight, rtol=0, atol=2e-4)


@pytest.mark.parametrize("loss", ["cpt_dpo:Dpo", "cpt_losses.pointwise:Kto"])
def test_a_batch_that_two_processes_cannot_halve_has_the_same_losses(
    tmp_path: Path, model: Path, trainings: Trainings, loss: str
) -> None:
    asked = {"pairs": 5, "batch_size": 3, "loss": loss}
    assert trainings(model, tmp_path / "one", **asked) == [0]
    assert trainings(model, tmp_path / "two", processes=2, **asked) == [0, 0]
    one, two = ([line["loss"] for line in tiny.read(tmp_path / run)] for run in ("one", "two"))
    assert len(set(one)) > 1
    assert two == pytest.approx(one, rel=1e-5)


def test_a_sharded_model_learns_the_same_and_its_checkpoint_is_taken_up(
    tmp_path: Path, model: Path, trainings: Trainings
) -> None:
    asked = {"pairs": 2, "batch_size": 3, "loss": "cpt_dpo:Dpo", "checkpoint_every": 1}
    assert trainings(model, tmp_path / "one", **asked) == [0]
    two = {**asked, "processes": 2, "sharded": True}
    die = [signal.SIGINT, "cpt_step_ended", 2]
    assert trainings(model, tmp_path / "two", **two, die=die) == [130, 130]
    assert trainings(model, tmp_path / "two", **two) == [0, 0]
    one, sharded = (tiny.read(tmp_path / run) for run in ("one", "two"))
    losses = [line["loss"] for line in one]
    assert [line["loss"] for line in sharded] == pytest.approx(losses, rel=1e-5)
    found = weights_of(tmp_path / "two" / "model")
    for name, weight in weights_of(tmp_path / "one" / "model").items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=2e-4)


def test_a_sharded_adapter_is_measured_written_and_merged_as_a_whole_one(
    tmp_path: Path, model: Path, trainings: Trainings
) -> None:
    asked = {"pairs": 2, "batch_size": 3, "loss": "cpt_dpo:Dpo", "lora_rank": 2}
    two = {**asked, "processes": 2, "sharded": True, "evaluators_every": 3}
    assert trainings(model, tmp_path / "one", **asked) == [0]
    assert trainings(model, tmp_path / "two", **two) == [0, 0]
    for place in (("model",), ("adapter", "adapter_model.safetensors")):
        expected, found = (
            weights_of(tmp_path / run / place[0], *place[1:]) for run in ("one", "two")
        )
        assert found.keys() == expected.keys()
        for name, weight in expected.items():
            torch.testing.assert_close(found[name], weight, rtol=0, atol=2e-4)
    last = tiny.chosen_logps(tmp_path / "two" / "model")["anything/chosen"]
    assert tiny.read(tmp_path / "two")[-1]["eval/anything/chosen"] == pytest.approx(last)


def test_a_sharded_training_goes_on_in_one_process_and_back(
    tmp_path: Path, model: Path, trainings: Trainings
) -> None:
    asked = {"pairs": 2, "batch_size": 3, "loss": "cpt_losses.pointwise:Kto", "checkpoint_every": 1}
    assert trainings(model, tmp_path / "one", **asked) == [0]
    run, two = tmp_path / "run", {**asked, "processes": 2, "sharded": True}
    die = [[signal.SIGINT, "cpt_step_ended", step] for step in (1, 2)]
    assert trainings(model, run, **two, die=die[0]) == [130, 130]
    saved = run / "checkpoints" / "step-00000001"
    assert len(list((saved / "pytorch_model_fsdp_0").glob("*.distcp"))) == 2
    assert trainings(model, run, **asked, die=die[1]) == [130]
    assert trainings(model, run, **two) == [0, 0]
    losses = [line["loss"] for line in tiny.read(tmp_path / "one")]
    assert [line["loss"] for line in tiny.read(run)] == pytest.approx(losses, rel=1e-5)
    found = weights_of(run / "model")
    for name, weight in weights_of(tmp_path / "one" / "model").items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=2e-4)


def test_deepspeed_takes_its_step_behind_the_last_micro_batch_alone(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It steps in `backward`, wherever gradients are to be synchronized."""
    last, backward = list[bool](), Accelerator.backward

    def recorded(self: Accelerator, loss: Tensor, **rest: Any) -> None:
        last.append(self.sync_gradients)
        backward(self, loss, **rest)

    monkeypatch.setattr(Accelerator, "backward", recorded)
    tiny.train(tmp_path, model, PAIRS[:6], batch_size=3, micro_tokens=1)
    assert last == [False, False, True] * 2


def test_deepspeed_is_told_what_it_reads_from_a_data_loader() -> None:
    config = {"train_micro_batch_size_per_gpu": "auto", "zero_optimization": {"stage": 2}}
    plugin = SimpleNamespace(deepspeed_config=config)
    accelerator: Any = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin))
    _count_for_deepspeed(accelerator, Training(max_grad_norm=0.5))
    assert config == {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": 0.5,
        "zero_optimization": {"stage": 2},
    }


def test_a_weight_multiplies_the_loss_of_its_pair(tmp_path: Path, model: Path) -> None:
    def first(weights: list[float]) -> dict[str, Any]:
        weighted = [
            attrs.evolve(pair, weight=weight)
            for pair, weight in zip(PAIRS[:3], weights, strict=True)
        ]
        folder = tmp_path / str(weights)
        line: dict[str, Any] = tiny.train(folder, model, weighted, batch_size=3)[0]
        return line

    zero, one, two = first([0.0] * 3), first([1.0] * 3), first([2.0] * 3)
    assert zero["loss"] == zero["grad_norm"] == 0.0
    assert two["loss"] == pytest.approx(2 * one["loss"])
    assert two["grad_norm"] == pytest.approx(2 * one["grad_norm"], rel=1e-4)
    mixed = first([1.0, 0.0, 0.0])
    alone = tiny.train(tmp_path / "alone", model, PAIRS[:1], batch_size=1)[0]
    assert mixed["grad_norm"] == pytest.approx(alone["grad_norm"] / 3, rel=1e-4)


def test_metrics_are_what_their_names_say(tmp_path: Path, model: Path) -> None:
    lines = tiny.train(tmp_path, model, PAIRS[:6], batch_size=3, scheduler=tiny.InOrder())
    tokenizer = AutoTokenizer.from_pretrained(model)
    before = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()

    def logp(pair: Any, text: str) -> float:
        asked = [{"role": "user", "content": pair.prompt.messages[0].content}]
        chat = [*asked, {"role": "assistant", "content": text}]
        ids = tokenizer.apply_chat_template(chat, return_tensors="pt", return_dict=False)
        start = tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
        with torch.no_grad():
            logps = before(ids).logits[0, :-1].log_softmax(-1)
        return float(logps.gather(1, ids[0, 1:, None])[len(start) - 1 :].sum())

    chosen = [logp(pair, pair.chosen.text) for pair in PAIRS[:3]]
    rejected = [logp(pair, pair.rejected.text) for pair in PAIRS[:3]]
    assert lines[0]["logps/chosen"] == pytest.approx(sum(chosen) / 3, rel=1e-5)
    assert lines[0]["logps/rejected"] == pytest.approx(sum(rejected) / 3, rel=1e-5)
    assert lines[1]["rewards/margins"] == pytest.approx(
        lines[1]["rewards/chosen"] - lines[1]["rewards/rejected"], rel=1e-4
    )
    assert [line["step"] for line in lines] == [1, 2]
    assert [line["epoch"] for line in lines] == [0.5, 1.0]
    assert all(line["tokens_per_second"] > 0 and 0 <= line["padding"] < 1 for line in lines)


def test_a_line_is_the_mean_over_its_steps(tmp_path: Path, model: Path) -> None:
    every = tiny.train(tmp_path / "every", model, PAIRS[:12], batch_size=3)
    some = tiny.train(tmp_path / "some", model, PAIRS[:12], batch_size=3, log_every=3)
    assert [line["step"] for line in some] == [3, 4]
    for name in MEASURED - {"padding"}:
        mean = sum(line[name] for line in every[:3]) / 3
        assert some[0][name] == pytest.approx(mean, rel=1e-4, abs=1e-6)


# What is computed


@pytest.fixture
def micro_batches(monkeypatch: pytest.MonkeyPatch) -> list[step.MicroBatch]:
    """The micro_batches that went through the model."""
    seen: list[step.MicroBatch] = []
    forward = objective.weighted_losses

    def noting(state: Any, micro_batch: step.MicroBatch, *rest: Any, **named: Any) -> Tensor:
        seen.append(micro_batch)
        return forward(state, micro_batch, *rest, **named)

    monkeypatch.setattr("cpt.training.loop.weighted_losses", noting)
    return seen


def test_an_answer_that_pairs_of_a_batch_share_is_computed_once(
    tmp_path: Path, model: Path, micro_batches: list[step.MicroBatch]
) -> None:
    ladder = tiny.ladder(prompts=2, rungs=4)
    tiny.train(tmp_path, model, ladder, batch_size=len(ladder), micro_tokens=10_000)
    assert (
        len(ladder) == 12 and sum(len(micro_batch.sequences) for micro_batch in micro_batches) == 8
    )
    assert sum(len(micro_batch.pairs) for micro_batch in micro_batches) == 12


def test_a_prompt_with_many_pairs_is_cut_to_the_budget(
    tmp_path: Path, model: Path, micro_batches: list[step.MicroBatch]
) -> None:
    ladder = tiny.ladder(prompts=1, rungs=5)
    lines = tiny.train(tmp_path / "cut", model, ladder, batch_size=10, micro_tokens=250)
    assert (
        len(micro_batches) > 1
        and sum(len(micro_batch.pairs) for micro_batch in micro_batches) == 10
    )
    same(lines, tiny.train(tmp_path / "whole", model, ladder, batch_size=10, micro_tokens=9999))


@pytest.mark.parametrize(("shared", "groups"), [(True, 1), (False, 3)])
def test_a_shared_prompt_counts_once_against_the_budget(shared: bool, groups: int) -> None:
    layout = Layout(packed=True, shared=shared)
    rows = [
        (TokenSequence([7] * 50, [1, better]), TokenSequence([7] * 50, [2, better]))
        for better in (3, 4, 5)
    ]
    corpus = corpus_of(zip(PAIRS[:3], rows, strict=True))
    assert len(step.group_by_prompt([0, 1, 2], corpus, tiny.Sigmoid(), 120, layout)) == groups
    assert len(list(_by_prompt([row for pair in rows for row in pair], 120, layout))) == groups


def test_a_loss_pays_only_for_what_it_needs(
    tmp_path: Path, model: Path, micro_batches: list[step.MicroBatch]
) -> None:
    line = tiny.train(tmp_path, model, PAIRS[:3], loss=tiny.Imitate())[0]
    assert sum(len(micro_batch.sequences) for micro_batch in micro_batches) == 3
    assert "logps/chosen" in line
    unwanted = ("rewards", "logratios")
    assert not [name for name in line if name.startswith(unwanted) or "rejected" in name]


def test_a_pair_may_come_twice_in_a_batch(tmp_path: Path, model: Path) -> None:
    @attrs.frozen
    class Twice(tiny.InOrder):
        def batches(self, pairs: Any, size: int, seed: int, epochs: int) -> Iterator[list[int]]:
            yield [0, 0, 1]

    line = tiny.train(tmp_path / "a", model, PAIRS[:2], scheduler=Twice())[0]
    again = [attrs.evolve(PAIRS[0], id="again"), *PAIRS[:2]]
    same([line], tiny.train(tmp_path / "b", model, again, batch_size=3))


# What is written


def test_the_model_is_one_that_transformers_loads_and_stops(tmp_path: Path, model: Path) -> None:
    tiny.train(tmp_path, model, PAIRS, epochs=2)
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.chat_template == tiny.CHATML
    assert made.config.attention_dropout == 0.1
    assert tokenizer.eos_token_id in made.generation_config.eos_token_id
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "ab"}], return_tensors="pt")
    assert made.generate(**ids, max_new_tokens=4).shape[1] > ids["input_ids"].shape[1]
    changed = weights_of(tmp_path / "model")
    assert any(not torch.equal(changed[name], weight) for name, weight in weights_of(model).items())
    assert not list(tmp_path.glob(".*"))


def test_the_card_says_what_the_model_is(tmp_path: Path, model: Path) -> None:
    given_ = [attrs.evolve(pair, pairer="ladder") for pair in [*PAIRS, tiny.pair("a", "b", "b")]]
    tiny.train(tmp_path, model, given_, loss=tiny.Sigmoid(beta=0.25))
    card = (tmp_path / "model" / "README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    for said in (
        "`sigmoid` with beta = 0.25",
        "arXiv:2305.18290",
        "Takes the pairs as they come",
        "17 pairs made by `ladder`; 1 identical dropped",
        f"`{model}`",
        "`rewards/margins`",
        f"torch {torch.__version__}",
    ):
        assert said in card


def test_a_model_stays_in_the_number_format_it_came_in(tmp_path: Path) -> None:
    base = tmp_path / "base"
    tiny.model(tie_word_embeddings=True).to(torch.bfloat16).save_pretrained(base)
    tiny.tokenizer().save_pretrained(base)
    tiny.train(tmp_path / "run", base, PAIRS)
    made = weights_of(tmp_path / "run" / "model")
    assert {weight.dtype for weight in made.values()} == {torch.bfloat16}
    assert made.keys() == weights_of(base).keys() and "lm_head.weight" not in made
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model").dtype == torch.bfloat16


def test_lora_leaves_a_merged_model_and_the_adapter(tmp_path: Path, model: Path) -> None:
    from peft import PeftModel

    targets = ("q_proj", "down_proj")
    tiny.train(tmp_path, model, PAIRS, lora_rank=4, lora_targets=targets, learning_rate=1e-2)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()
    base = AutoModelForCausalLM.from_pretrained(model)
    adapted = PeftModel.from_pretrained(base, tmp_path / "adapter").eval()
    ids = torch.arange(30)[None]
    torch.testing.assert_close(merged(ids).logits, adapted(ids).logits, rtol=0, atol=1e-4)
    before, after = weights_of(model), weights_of(tmp_path / "model")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(any(target in name for target in targets) for name in changed)


def test_the_order_is_the_schedulers_and_is_written(tmp_path: Path, model: Path) -> None:
    scheduler = tiny.Mixed()
    tiny.train(tmp_path, model, PAIRS, scheduler=scheduler, seed=4, epochs=2)
    written = pq.read_table(tmp_path / "order.parquet").to_pydict()
    batches = [list(batch) for batch in scheduler.batches(PAIRS, 8, 4, 2)]
    assert written["pair"] == [PAIRS[index].id for batch in batches for index in batch]
    assert written["step"] == [at for at, batch in enumerate(batches, 1) for _ in batch]


def test_a_finished_training_is_not_done_again(tmp_path: Path, model: Path) -> None:
    from cpt.training import train

    parts_ = {"scheduler": tiny.InOrder(), "loss": tiny.Sigmoid(), "seed": 0, "output": tmp_path}
    options = Training(**tiny.OPTIONS)
    first = train([*PAIRS, tiny.pair("a", "b", "b")], model=model, options=options, **parts_)
    assert first["pairs"] == 17 and first["dropped"] == {"identical": 1} and first["steps"] == 3
    assert train([], model=Path("nowhere"), options=options, **parts_) == first


def test_events_are_reported(tmp_path: Path, model: Path) -> None:
    reported: list[tuple[str, Any]] = []

    def notify(event: str, **facts: Any) -> None:
        if event == "cpt_metrics_logged":
            assert tiny.read(tmp_path)[-1] == facts["metrics"]
        if event == "cpt_checkpoint_saved":
            assert (facts["path"] / "state.json").exists()
        if event != REFERENCES:
            reported.append((event, facts))

    asked = {"batch_size": 2, "log_every": 2, "checkpoint_every": 4}
    lines = tiny.train(tmp_path, model, PAIRS[:10], notify=notify, **asked)
    assert [(event.removeprefix("cpt_"), facts["step"]) for event, facts in reported] == [
        ("step_ended", 1),
        ("step_ended", 2),
        ("metrics_logged", 2),
        ("step_ended", 3),
        ("step_ended", 4),
        ("metrics_logged", 4),
        ("checkpoint_saved", 4),
        ("step_ended", 5),
        ("metrics_logged", 5),
    ]
    hooks = {event: set(facts) for event, facts in reported}
    declared = {name: set(signature(getattr(hookspecs, name)).parameters) for name in hooks}
    assert hooks == {name: facts - {"control"} for name, facts in declared.items()}
    assert {facts["steps"] for event, facts in reported if "steps" in facts} == {5}
    logged = [facts["metrics"] for event, facts in reported if event == "cpt_metrics_logged"]
    assert logged == lines


def test_a_resumed_training_reports_the_steps_since_its_checkpoint_again(
    tmp_path: Path, model: Path
) -> None:
    reported: list[tuple[str, int]] = []

    def notify(event: str, **facts: Any) -> None:
        if event != REFERENCES:
            reported.append((event, facts["step"]))
        if reported == first:
            raise InterruptedError

    step, line, saved = "cpt_step_ended", "cpt_metrics_logged", "cpt_checkpoint_saved"
    first = [(step, 1), (line, 1), (step, 2), (line, 2), (saved, 2), (step, 3), (line, 3)]
    asked = {"batch_size": 2, "checkpoint_every": 2}
    with pytest.raises(InterruptedError):
        tiny.train(tmp_path, model, PAIRS[:8], notify=notify, **asked)
    broken = tiny.read(tmp_path)
    reported.clear()
    lines = tiny.train(tmp_path, model, PAIRS[:8], notify=notify, **asked)
    assert reported == [(step, 3), (line, 3), (step, 4), (line, 4), (saved, 4)]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert measured(lines[2]) == measured(broken[2])


def test_only_the_main_process_reports(tmp_path: Path, model: Path, trainings: Trainings) -> None:
    noted = tmp_path / "noted"
    asked = {"pairs": 4, "batch_size": 4, "checkpoint_every": 1, "note": str(noted)}
    assert trainings(model, tmp_path / "run", processes=2, **asked) == [0, 0]
    lines = [line.split() for line in noted.read_text().splitlines()]
    assert {rank for rank, _ in lines} == {"0"}
    events = {"cpt_step_ended", "cpt_metrics_logged", "cpt_checkpoint_saved"}
    assert {event for _, event in lines} - {REFERENCES} == events


# What is refused


@attrs.frozen
class Broken(Loss):
    """Breaks at one pair."""

    name = "broken"
    needs: ClassVar = frozenset({"rejected"})

    def __call__(self, batch: Batch) -> Tensor:
        return (batch.rejected.policy - batch.chosen.policy) / (batch.margin != 13)


def test_a_loss_that_is_not_finite_stops_and_names_its_pairs(tmp_path: Path, model: Path) -> None:
    bad = [attrs.evolve(pair, margin=float(at)) for at, pair in enumerate(PAIRS)]
    with pytest.raises(
        CptError, match=rf"Step 7: the loss is not finite for pair {PAIRS[13].id}\."
    ):
        tiny.train(tmp_path, model, bad, loss=Broken(), batch_size=2, checkpoint_every=3)
    assert [folder.name for folder in (tmp_path / "checkpoints").iterdir()] == [
        "step-00000003",
        "step-00000006",
    ]
    assert not (tmp_path / "model").exists()


def test_a_loss_of_the_wrong_shape_is_named(tmp_path: Path, model: Path) -> None:
    @attrs.frozen
    class Mean(tiny.Sigmoid):
        name = "mean"

        def __call__(self, batch: Batch) -> Tensor:
            return super().__call__(batch).mean()

    with pytest.raises(CptError, match=r"Loss 'mean' returned shape \(\) for \d pairs"):
        tiny.train(tmp_path, model, PAIRS, loss=Mean())


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (lambda losses: None, "Loss 'odd' returned NoneType for"),
        (lambda losses: losses.tolist(), "Loss 'odd' returned list for"),
        (lambda losses: losses.detach(), "Loss 'odd' has no gradient"),
    ],
)
def test_a_loss_that_gives_no_gradient_is_named(
    tmp_path: Path, model: Path, broken: Callable[[Tensor], Any], what: str
) -> None:
    @attrs.frozen
    class Odd(tiny.Sigmoid):
        name = "odd"

        def __call__(self, batch: Batch) -> Any:
            return broken(super().__call__(batch))

    with pytest.raises(CptError, match=what):
        tiny.train(tmp_path, model, PAIRS, loss=Odd())


def test_a_scheduler_that_asks_for_what_there_is_not_is_named(tmp_path: Path, model: Path) -> None:
    @attrs.frozen
    class Beyond(tiny.InOrder):
        def batches(self, pairs: Any, size: int, seed: int, epochs: int) -> Iterator[list[int]]:
            yield [len(pairs)]

    with pytest.raises(CptError, match="'in_order' asks for pair 3 of 3 in batch 1"):
        tiny.train(tmp_path, model, PAIRS[:3], scheduler=Beyond())


def test_mismatched_pairs_need_two_prompts(tmp_path: Path, model: Path) -> None:
    with pytest.raises(CptError, match="all pairs have the same prompt"):
        tiny.train(tmp_path, model, tiny.ladder(prompts=1), loss=tiny.Anchored())


def make_empty(folder: Path) -> None:
    (folder / "config.json").unlink()


def make_adapter(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")


def take_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def take_tokenizer(folder: Path) -> None:
    for file in folder.glob("token*"):
        file.unlink()


def break_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "nothing_known"}')


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (make_empty, "not a model's folder"),
        (make_adapter, "holds an adapter only"),
        (take_weights, "no causal language model that can be loaded"),
        (take_tokenizer, "no tokenizer that can be loaded"),
        (break_config, "config.json is not of a model known here"),
    ],
)
def test_a_folder_that_holds_no_model_is_named(tmp_path: Path, damage: Any, said: str) -> None:
    folder = tiny.folder(tmp_path / "base")
    damage(folder)
    with pytest.raises(CptError, match=said) as raised:
        tiny.train(tmp_path / "run", folder, PAIRS)
    assert str(folder) in raised.value.message and "\n" not in raised.value.message
    assert not (tmp_path / "run" / "model").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CptError, match=r"nowhere: there is no such folder"):
        tiny.train(tmp_path, tmp_path / "nowhere", PAIRS)


def test_a_model_that_does_not_know_the_tokenizers_ids(tmp_path: Path) -> None:
    folder = tiny.folder(tmp_path / "base", vocab_size=200)
    with pytest.raises(CptError, match=r"None of the 17 pairs.*outside_vocabulary"):
        tiny.train(tmp_path / "run", folder, PAIRS)


def test_lora_targets_that_the_model_does_not_have(tmp_path: Path, model: Path) -> None:
    with pytest.raises(CptError, match=r"train\.lora_targets: .*nowhere_proj"):
        tiny.train(tmp_path, model, PAIRS, lora_rank=2, lora_targets=("nowhere_proj",))


def test_pairs_beyond_the_positions_of_the_model_are_dropped(tmp_path: Path) -> None:
    folder = tiny.folder(tmp_path / "base", max_position_embeddings=120)
    tiny.train(tmp_path / "run", folder, [*PAIRS, tiny.pair("q", "a" * 120, "b")])
    summary = json.loads((tmp_path / "run" / "training.json").read_text())
    assert summary["dropped"] == {"answer_too_long": 1}


def test_layers_are_compiled_as_a_whole_and_nothing_else_is() -> None:
    made = tiny.model()
    compile_layers(made)
    compiled = [module for module in made.modules() if module._compiled_call_impl is not None]
    assert compiled == list(made.model.layers)


def test_layers_that_are_computed_twice_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    made = tiny.model()
    checkpoint_activations(made)
    compile_layers(made)
    torch._dynamo.reset()
    counters.clear()
    ids = torch.arange(12)[None]
    made(input_ids=ids, use_cache=False).logits.sum().backward()
    assert counters["stats"]["unique_graphs"] > 0
    assert all(weight.grad is not None for weight in made.parameters())


def test_layers_of_padded_rows_are_not_compiled(caplog: pytest.LogCaptureFixture) -> None:
    from cpt.training.module import _compile

    made = tiny.model()
    _compile(made, compact=True)
    assert not any(module._compiled_call_impl for module in made.modules())
    assert caplog.text.count("train.compile: left out, as the rows of this model are padded") == 1
    _compile(made, compact=False)
    assert all(layer._compiled_call_impl for layer in made.model.layers)


def test_a_small_model_computes_with_one_thread_and_a_large_one_with_all():
    from cpt.models.devices import SMALL, suited_threads

    torch.set_num_threads(2)
    try:
        with suited_threads(SMALL - 1):
            assert torch.get_num_threads() == 1
        with suited_threads(SMALL):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
