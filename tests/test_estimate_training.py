"""What a training would take is told before it begins, and when memory has run out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from transformers import Qwen3Config

from cpt import CptError
from cpt.training import loop, state
from cpt.training.forward.flops import Work, named_peak
from cpt.training.forward.loading.model import load_model, made_trainable
from cpt.training.optimizer.adamw import AT_ONCE
from cpt.training.options import Training
from cpt.training.planning.plan import make_plan
from cpt.training.resources import estimate, exhausted, fitting
from cpt.training.resources.memory import sketch

from . import tiny

EIGHT = {
    **{"vocab_size": 128_256, "hidden_size": 4096, "intermediate_size": 14_336, "head_dim": 128},
    **{"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8},
}
"""An 8B model: as a configuration alone, its weights nowhere."""
BF16: dict[str, Any] = {"precision": "bf16", "weights": "bf16", "gradient_checkpointing": True}


@pytest.fixture
def eight(tmp_path: Path) -> Path:
    made: Any = Qwen3Config(**EIGHT, tie_word_embeddings=False, architectures=["Qwen3ForCausalLM"])
    made.save_pretrained(tmp_path / "eight")
    return tmp_path / "eight"


def test_8b_fits_80_gb_in_full_and_24_gb_as_lora(eight: Path) -> None:
    """The arithmetic of docs/how-to/memory.md."""
    whole = sketch(eight, Training(**BF16, optimizer="adamw_8bit"))
    full = whole.footprint(8192, 4096, "cuda")
    assert whole.parameters == whole.trained == pytest.approx(8.03e9, rel=1e-2)
    assert full.weights == full.gradients == pytest.approx(16.06e9, rel=1e-3)
    assert full.optimizer == pytest.approx(2.03 * 8.03e9, rel=1e-3)
    assert 55e9 < full.total < 0.94 * 80e9
    adapted = sketch(eight, Training(**BF16, lora_rank=16))
    lora = adapted.footprint(2048, 1024, "cuda")
    assert adapted.trained == 32 * 16 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * 18_432)
    assert lora.total < 0.94 * 24e9


@pytest.mark.parametrize("options", [{}, {"lora_rank": 3}, {"lora_rank": 2, "dora": True}])
def test_what_is_counted_is_what_a_training_has(tmp_path: Path, options: dict[str, Any]) -> None:
    folder = tiny.folder(tmp_path / "base", tie_word_embeddings=True)
    told = sketch(folder, Training(**options))
    model = made_trainable(load_model(folder), Training(**options))
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    assert told.trained == sum(weight.numel() for weight in trained)
    assert told.parameters == sum(weight.numel() for weight in model.parameters())
    assert told.weights == sum(weight.nbytes for weight in model.parameters())


def test_activations_are_those_that_autograd_keeps(tmp_path: Path) -> None:
    folder = tiny.folder(tmp_path / "base")
    model, kept = load_model(folder), dict[int, int]()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    alive: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.model(input_ids=torch.zeros(1, 100, dtype=torch.long), use_cache=False)
    assert 100 * sketch(folder, Training()).per_token == pytest.approx(sum(kept.values()), rel=0.08)


def test_the_work_is_counted_in_both_conventions(tmp_path: Path) -> None:
    model = load_model(tiny.folder(tmp_path / "base"))
    work = Work.of(model)
    body = sum(weight.numel() for name, weight in model.named_parameters() if "layers" in name)
    norm, head = 48, model.lm_head.weight.numel()
    assert work.per_token == 2 * (body + norm) and work.head == 2 * head
    plan = _plan(tmp_path)
    (call,) = estimate._calls(plan, plan.order[0], sketch(plan.folder, plan.options).layout, 8192)
    sequences = [plan.corpus.sequences[index] for index in call.sequences]
    assert work.exact(call.inputs) < work.published(sequences)
    lengths = [sequence.input_length for sequence in sequences]
    wanted = sum(n * (work.per_token + work.head) + n * n * work.per_key for n in lengths)
    assert work.published(sequences) == pytest.approx(3 * wanted)
    assert named_peak("NVIDIA H100 80GB HBM3") == 9.89e14
    assert named_peak("NVIDIA H100 PCIe") == 7.56e14 and named_peak("a toaster") is None


def test_the_log_has_the_share_of_the_peak_where_that_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny.folder(tmp_path / "base")
    tiny.train(tmp_path / "unknown", folder, tiny.pairs(4))
    monkeypatch.setattr(state, "peak_of", lambda *_: 1e12)
    tiny.train(tmp_path / "known", folder, tiny.pairs(4))
    assert not any("mfu" in line for line in tiny.read(tmp_path / "unknown"))
    (line,) = tiny.read(tmp_path / "known")[-1:]
    assert 0 < line["mfu_exact"] < line["mfu"] < 1


def _plan(tmp_path: Path, **options: Any) -> Any:
    folder = tmp_path / "base"
    made = Training(**{**tiny.OPTIONS, **options})
    return make_plan(tiny.pairs(5), folder, tiny.Mixed(), tiny.Sigmoid(), made, 1)


def test_a_dry_run_tells_and_writes_nothing(cpt_cli: Any, tmp_path: Path) -> None:
    """Of a model of 1.5 billion weights in two layers."""
    wide: Any = {**EIGHT, "num_hidden_layers": 2, "architectures": ["Qwen3ForCausalLM"]}
    Qwen3Config(**wide, tie_word_embeddings=False).save_pretrained(tmp_path / "wide")
    tiny.tokenizer().save_pretrained(tmp_path / "wide")
    rows = [{"prompt": f"{n}?", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(6)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["train", "--pairs", "pairs.jsonl", "--model", "wide", "--loss", "dpo"]
    line += ["--train.batch-size", "4", "--output", "run", "--dry-run"]
    told = json.loads(cpt_cli(*line, "--json").stdout)
    assert (told["pairs"], told["steps"]) == (6, 2)
    assert told["memory"]["total"] == pytest.approx(
        sum(value for name, value in told["memory"].items() if name != "total")
    )
    assert not told["devices"]["24 GB"]["fits"] and told["devices"]["141 GB"]["fits"]
    assert told["devices"]["24 GB"]["change"]["optimizer"] == "adamw_8bit"
    said = cpt_cli(*line, "--train.precision", "bf16").output
    assert "fits into 24 GB with --train.gradient-checkpointing --train.weights bf16" in said, said
    assert not (tmp_path / "run").exists()
    nothing = cpt_cli("train", "--model", "wide", "--output", "run", "--dry-run")
    assert nothing.exit_code == 2 and "no pairs yet" in nothing.output


def test_a_dry_run_keeps_its_pairs_on_the_disk(
    cpt_cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(pairs: Any, *_: Any) -> None:
        raise CptError(f"{len(pairs)} in {type(pairs).__name__}")

    monkeypatch.setattr("cpt.training.planning.plan.make_plan", told)
    row = {"prompt": "One?", "chosen": "yes", "rejected": "no"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    line = ["--pairs", "pairs.jsonl", "--model", "m", "--loss", "dpo", "--output", "run"]
    assert "1 in StoredPairs" in cpt_cli("train", *line, "--dry-run").output


def test_out_of_memory_is_one_line_with_what_would_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> float:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 GB")

    folder = tiny.folder(tmp_path / "base")
    monkeypatch.setattr(loop, "_step", full)
    with pytest.raises(CptError, match=r"^Out of memory \(cpu\): it is estimated to fit with --tr"):
        tiny.train(tmp_path / "run", folder, tiny.pairs(4))
    monkeypatch.setattr(estimate, "capacity", lambda _: 1e6)
    with pytest.raises(CptError, match="no option makes it fit here"):
        tiny.train(tmp_path / "run", folder, tiny.pairs(4))


def test_torchao_takes_more_than_its_state_where_it_is_not_compiled(eight: Path) -> None:
    whole = sketch(eight, Training(**BF16, optimizer="adamw_8bit"))
    assert whole.largest == 128_256 * 4096
    made = attrs.evolve(whole, vocabulary=1000)  # a head that takes little
    few, many = (made.footprint(tokens, 16, "cpu") for tokens in (1, 100_000))
    assert few.step == pytest.approx(83 * AT_ONCE - few.activations - few.head)
    assert many.step == 0.0  # activations took as much before
    assert made.footprint(64, 16, "cuda").step == 0.0
    fused = sketch(eight, Training())
    assert fused.footprint(64, 16, "cpu").step == 0.0


def test_a_cpu_keeps_memory_free_between_tensors(tmp_path: Path) -> None:
    shares: dict[Any, float] = {"fp32": 0.1, "bf16": 0.6}
    folder = tiny.folder(tmp_path / "base")
    for precision, share in shares.items():
        made = sketch(folder, Training(precision=precision))
        here, there = (made.footprint(512, 64, device) for device in ("cpu", "cuda"))
        assert here.gaps == pytest.approx(share * (here.activations + here.head))
        assert there.gaps == 0.0 < there.total


def test_what_is_open_is_set_where_it_fits_only_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.folder(tmp_path / "base", num_hidden_layers=8)
    plan = _plan(tmp_path, micro_tokens=None)
    counted = estimate.Counted(plan)
    whole = counted.total(plan.options, "cpu")
    twice = counted.total(attrs.evolve(plan.options, gradient_checkpointing=True), "cpu")
    assert twice < whole

    def memory(size: float) -> None:
        monkeypatch.setattr(fitting, "capacity", lambda _: size / estimate.FREE)

    monkeypatch.setattr(fitting, "SURE", 1e6)
    memory(whole)
    assert fitting.fitted(plan, "cpu") is plan
    memory((whole + twice) / 2)
    changed = fitting.fitted(plan, "cpu")
    assert changed.options == attrs.evolve(plan.options, gradient_checkpointing=True)
    assert changed.digest == plan.digest  # it may go on on another device
    (said,) = caplog.messages
    assert "not to fit" in said and "without --train.gradient-checkpointing, which" in said
    asked = _plan(tmp_path, micro_tokens=None, gradient_checkpointing=False)
    assert not fitting.fitted(asked, "cpu").options.gradient_checkpointing
    memory(1e6)
    assert fitting.fitted(plan, "cpu") is plan  # nothing helps: it is tried as it is
    monkeypatch.setattr(fitting, "SURE", 1e-6)
    assert fitting.fitted(plan, "cpu") is plan


def test_every_allocator_is_known() -> None:
    cuda = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
    assert exhausted._is_exhausted(cuda) and exhausted._is_exhausted(MemoryError())
    assert not exhausted._is_exhausted(RuntimeError("shape mismatch"))


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    tiny.folder(tmp_path / "base")
    with (
        pytest.raises(RuntimeError, match="a bug"),
        exhausted.memory_errors(_plan(tmp_path), torch.device("cpu")),
    ):
        raise RuntimeError("a bug")
