"""The folder of a trained model: what it takes over from its base, and what rounding loses."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from cpt import CptError
from cpt.models import folder_of
from cpt.run.record.inputs import content_digest
from cpt.training.output.rounding import WeightFormat, survival

from . import tiny

PAIRS = tiny.pairs(6)
OLD_CONFIG = {
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
        "rope_type": "llama3",
    },
    "torch_dtype": "float32",
    "transformers_version": "4.43.0",
    "a_field_of_another_tool": {"kept": True},
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))


def edit(file: Path, **changes: Any) -> dict[str, Any]:
    """Change fields of a JSON file, `None` to remove one."""
    content = json.loads(file.read_text()) | changes
    content = {name: value for name, value in content.items() if value is not None}
    file.write_text(json.dumps(content))
    return content


def as_older_versions_write(folder: Path) -> dict[str, Any]:
    """Rewrite a model's folder in the form that transformers 4 gives it; returns its config."""
    edit(folder / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast", backend=None)
    edit(folder / "generation_config.json", eos_token_id=2, temperature=0.6, do_sample=True)
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<|im_end|>"}')
    (folder / "LICENSE").write_text("Terms.")
    return edit(folder / "config.json", rope_parameters=None, dtype=None, **OLD_CONFIG)


def read(file: Path) -> Any:
    return json.loads(file.read_text())


def log_probability(folder: Path) -> float:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.arange(100)[None]
    with torch.no_grad():
        logps = model(ids).logits.log_softmax(-1)
    return float(logps[0, :-1].gather(1, ids[0, 1:, None]).sum())


def test_what_training_does_not_change_is_the_bases_own(tmp_path: Path) -> None:
    base = tiny.folder(tmp_path / "base")
    config = as_older_versions_write(base)
    tiny.train(tmp_path / "run", base, PAIRS)
    made = tmp_path / "run" / "model"
    assert read(made / "config.json") == config
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "LICENSE"):
        assert (made / name).read_bytes() == (base / name).read_bytes()
    generation = read(made / "generation_config.json")
    end = AutoTokenizer.from_pretrained(base).eos_token_id
    assert generation["eos_token_id"] == [2, end]
    assert generation["temperature"] == 0.6


def test_a_template_that_the_base_lacks_is_written(tmp_path: Path) -> None:
    base = tiny.folder(tmp_path / "base")
    tiny.tokenizer(template=None).save_pretrained(base)
    (base / "chat_template.jinja").unlink()
    tiny.train(tmp_path / "run", base, PAIRS)
    made = AutoTokenizer.from_pretrained(tmp_path / "run" / "model")
    assert "message['content']" in made.chat_template
    assert AutoTokenizer.from_pretrained(base).chat_template is None


def test_files_of_weights_and_of_other_trainings_are_not_copied(tmp_path: Path) -> None:
    base = tiny.folder(tmp_path / "base")
    for name in ("model.safetensors.index.json", "optimizer.pt", "pytorch_model.bin", "README.md"):
        (base / name).write_text("of the base")
    (base / "model.safetensors.index.json").unlink()
    (base / "pytorch_model.bin.index.json").write_text("{}")
    tiny.train(tmp_path / "run", base, PAIRS)
    made = {file.name for file in (tmp_path / "run" / "model").iterdir()}
    assert not made & {"optimizer.pt", "pytorch_model.bin", "pytorch_model.bin.index.json"}
    assert "of the base" not in (tmp_path / "run" / "model" / "README.md").read_text()


def test_a_folder_with_a_format_of_its_own_says_the_written_one(tmp_path: Path) -> None:
    base = tiny.folder(tmp_path / "base")
    as_older_versions_write(base)
    tiny.train(tmp_path / "run", base, PAIRS, export_dtype="bf16")
    made = tmp_path / "run" / "model"
    assert read(made / "config.json")["torch_dtype"] == "bfloat16"
    assert "dtype" not in read(made / "config.json")
    assert {weight.dtype for weight in load_file(made / "model.safetensors").values()} == {
        torch.bfloat16
    }


# What rounding loses


@pytest.fixture
def half(tmp_path: Path) -> Path:
    """A base in bfloat16."""
    base = tmp_path / "half"
    tiny.model().to(torch.bfloat16).save_pretrained(base)
    tiny.tokenizer().save_pretrained(base)
    return base


def test_how_much_of_a_change_is_left() -> None:
    start = {"w": torch.ones(4)}
    spacing = 2.0**-7  # of bfloat16 above 1
    trained = {"w": 1 + spacing * torch.tensor([1.0, 0.25, 0.25, 0.0])}
    kept, moved = survival(start, trained, torch.bfloat16)
    assert kept == pytest.approx(1 / (1 + 2 * 0.25**2))
    assert moved == pytest.approx(1 / 3)
    assert survival(start, start, torch.bfloat16) == (1.0, 1.0)


def test_small_steps_are_written_in_fp32_and_it_is_said(
    tmp_path: Path, half: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        tiny.train(tmp_path / "run", half, PAIRS, learning_rate=1e-5, epochs=4)
    weights = read(tmp_path / "run" / "training.json")["weights"]
    assert weights["dtype"] == "float32" and weights["rounded_to"] == "bfloat16"
    assert weights["kept"] < 0.95 and 0 < weights["moved"] < 0.9
    (line,) = [line for line in caplog.messages if "Stored in" in line]
    assert f"bfloat16 keeps {weights['kept']:.0%} of the learned change" in line
    assert line in (tmp_path / "run" / "model" / "README.md").read_text()
    assert read(tmp_path / "run" / "model" / "config.json")["dtype"] == "float32"


@pytest.mark.parametrize(
    ("asked", "rate", "dtype"),
    [
        ("auto", 1e-2, torch.bfloat16),
        ("base", 1e-5, torch.bfloat16),
        ("bf16", 1e-5, torch.bfloat16),
        ("fp32", 1e-2, torch.float32),
        ("fp16", 1e-2, torch.float16),
    ],
)
def test_the_format_is_what_was_asked_for(
    tmp_path: Path, half: Path, asked: str, rate: float, dtype: torch.dtype
) -> None:
    tiny.train(tmp_path, half, PAIRS, export_dtype=asked, learning_rate=rate, epochs=2)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "model").dtype == dtype
    assert load_file(tmp_path / "model" / "model.safetensors")["lm_head.weight"].dtype == dtype


def test_a_model_in_fp32_loses_nothing(tmp_path: Path) -> None:
    tiny.train(tmp_path / "run", tiny.folder(tmp_path / "base"), PAIRS)
    assert read(tmp_path / "run" / "training.json")["weights"] == {"dtype": "float32"}


def test_the_sentence_says_what_to_do() -> None:
    kept = WeightFormat("bfloat16", rounded_to="bfloat16", kept=0.61, moved=0.34)
    assert kept.sentence == (
        "Stored in bfloat16: bfloat16 keeps 61% of the learned change (34% of the weights that "
        "changed); train.export_dtype fp32 keeps all."
    )
    assert "train.export_dtype base" in attrs.evolve(kept, dtype="float32").sentence


# Adapters on shared matrices


@pytest.mark.parametrize("target", ["lm_head", "embed_tokens"])
def test_an_adapter_on_a_shared_matrix_changes_only_its_own_side(
    tmp_path: Path, target: str
) -> None:
    from peft import PeftModel

    base = tiny.folder(tmp_path / "base", tie_word_embeddings=True)
    targets = (target, "q_proj")
    tiny.train(
        tmp_path, base, PAIRS, lora_rank=4, lora_targets=targets, learning_rate=1e-2, epochs=4
    )
    plain = AutoModelForCausalLM.from_pretrained(base)
    adapted = PeftModel.from_pretrained(plain, tmp_path / "adapter").eval()
    merged, found = AutoModelForCausalLM.from_pretrained(
        tmp_path / "model", output_loading_info=True
    )
    assert not found["missing_keys"] and not found["unexpected_keys"]
    assert read(tmp_path / "model" / "config.json")["tie_word_embeddings"] is False
    ids = torch.arange(100)[None]
    with torch.no_grad():
        torch.testing.assert_close(
            merged.eval()(ids).logits, adapted(ids).logits, rtol=0, atol=1e-4
        )
    assert log_probability(tmp_path / "model") != pytest.approx(log_probability(base), abs=1e-2)


# A model that is given as an adapter


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter of the user's, with a base in bfloat16 and its path relative to the adapter."""
    from peft import LoraConfig, get_peft_model

    base = tmp_path / "base"
    tiny.model(tie_word_embeddings=True).to(torch.bfloat16).save_pretrained(base)
    tiny.tokenizer().save_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj", "lm_head"])
    adapted = get_peft_model(model, config)
    torch.manual_seed(1)
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    adapted.save_pretrained(tmp_path / "adapter")
    edit(tmp_path / "adapter" / "adapter_config.json", base_model_name_or_path="../base")
    return tmp_path / "adapter"


def adapted_logits(adapter: Path, base: Path) -> torch.Tensor:
    from peft import PeftModel

    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    with torch.no_grad():
        return PeftModel.from_pretrained(plain, adapter).eval()(torch.arange(100)[None]).logits


def test_an_adapter_is_its_base_with_it(adapter: Path, tmp_path: Path) -> None:
    folder = folder_of(adapter)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    wanted = adapted_logits(adapter, tmp_path / "base")
    with torch.no_grad():
        got = model(torch.arange(100)[None]).logits
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4)
    assert folder_of(adapter) == folder
    assert [made.name for made in folder.parent.iterdir()] == [folder.name]


def test_an_adapter_that_changes_is_another_model(adapter: Path) -> None:
    before = content_digest(str(adapter))
    assert before == content_digest(str(adapter)) is not None
    edit(adapter / "adapter_config.json", lora_alpha=64)
    assert content_digest(str(adapter)) != before


@pytest.mark.parametrize("rank", [0, 4])
def test_training_begins_at_the_adapter(adapter: Path, tmp_path: Path, rank: int) -> None:
    asked = {"lora_rank": rank, "learning_rate": 1e-5, "epochs": 4}
    lines = tiny.train(tmp_path / "run", adapter, PAIRS, **asked)
    assert lines[0]["rewards/margins"] == 0.0 and lines[0]["loss"] == pytest.approx(math.log(2))
    made = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model").eval()
    with torch.no_grad():
        got = made(torch.arange(100)[None]).logits
    assert made.dtype == torch.float32  # as bfloat16 would lose what was learned
    torch.testing.assert_close(got, adapted_logits(adapter, tmp_path / "base"), rtol=0, atol=0.05)
    assert tiny.train(tmp_path / "run", adapter, PAIRS, **asked) == lines


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"base_model_name_or_path": None}, "name the model that it is for"),
        ({"base_model_name_or_path": "/nowhere/at all"}, "/nowhere/at all: there is no such"),
        ({"task_type": "SEQ_CLS"}, "an adapter for SEQ_CLS"),
        ({"r": 8}, "does not fit its base model"),
    ],
)
def test_an_adapter_that_cannot_be_used_is_one_line(
    adapter: Path, changes: dict[str, Any], said: str
) -> None:
    edit(adapter / "adapter_config.json", **changes)
    with pytest.raises(CptError, match=said) as caught:
        folder_of(adapter)
    assert "\n" not in str(caught.value)
    assert not list(adapter.parent.glob("cache/merged/*"))


@pytest.fixture
def with_vision(tmp_path: Path) -> Path:
    """A model of text and images, of which transformers trains the text part alone."""
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    from .families import FAMILIES

    text = {
        **{"vocab_size": len(tiny.tokenizer()), "hidden_size": 32, "intermediate_size": 48},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
        **{"head_dim": 8, "tie_word_embeddings": True, **FAMILIES["qwen3_5"][1]},
    }
    vision = {
        **{"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 24},
        **{"out_hidden_size": 32, "patch_size": 4, "num_position_embeddings": 16},
    }
    config = Qwen3_5Config(text_config=text, vision_config=vision, tie_word_embeddings=True)
    folder = tmp_path / "seeing"
    Qwen3_5ForConditionalGeneration._from_config(config).save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text("{}")
    return folder


@pytest.mark.parametrize("targets", [(), ("lm_head",)])
def test_what_is_not_text_is_exported_as_it_is(
    with_vision: Path, tmp_path: Path, targets: tuple[str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    from transformers import Qwen3_5ForConditionalGeneration

    rank = 2 if targets else 0
    tiny.train(tmp_path / "run", with_vision, PAIRS, lora_rank=rank, lora_targets=targets)
    assert "only Qwen3_5ForCausalLM is trained; the rest is exported as it is" in caplog.text
    folder = tmp_path / "run" / "model"
    assert (folder / "preprocessor_config.json").exists()
    old, new = (load_file(place / "model.safetensors") for place in (with_vision, folder))
    assert new.keys() - old.keys() == ({"lm_head.weight"} if targets else set())
    assert not old.keys() - new.keys()
    changed = {name for name in old if not torch.equal(old[name].float(), new[name].float())}
    assert not any("visual" in name for name in changed)
    assert changed == (set() if targets else {name for name in old if "visual" not in name})
    ids = torch.tensor([[5, 6, 7, 8]])
    both = (Qwen3_5ForConditionalGeneration, AutoModelForCausalLM)
    whole, text = (kind.from_pretrained(folder)(input_ids=ids).logits for kind in both)
    torch.testing.assert_close(whole, text)
