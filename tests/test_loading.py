"""What is loaded is what was saved, and no code of a model's folder runs unless asked for."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import LlamaForSequenceClassification, LlamaModel

import cpt
from cpt.errors import CptError
from cpt.models import digest_of, load_tokenizer
from cpt.training.forward.loading.model import load_model, made_trainable, vocabulary
from cpt.training.options import Training
from cpt_judges.reward_model import RewardModel
from cpt_transformers.responder import Transformers

from . import tiny
from .families import FAMILIES, config_of, random_model

RAN = "code of a model's folder was run"
CODE = f"""
from pathlib import Path
Path(__file__).with_name("ran").write_text({RAN!r})
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

class OwnConfig(LlamaConfig):
    model_type = "own"

class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig

class OwnClassifier(LlamaForSequenceClassification):
    config_class = OwnConfig
"""


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that transformers does not have, with the code that it needs."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(
        "transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules")
    )
    folder = tmp_path / "own"
    tiny.model().save_pretrained(folder)
    tiny.tokenizer().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "architectures": ["OwnModel"]}
    config["auto_map"] = {
        "AutoConfig": "own.OwnConfig",
        "AutoModelForCausalLM": "own.OwnModel",
        "AutoModelForSequenceClassification": "own.OwnClassifier",
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(CODE)
    return folder


def attempts(folder: Path, *, trust: bool) -> list[Any]:
    """Everything that loads something from a model's folder."""
    prompt = cpt.Prompt(id="p", messages=(cpt.Message("user", "abc"),))
    responder = Transformers(model=str(folder), max_tokens=2, trust_remote_code=trust)
    return [
        lambda: load_model(folder, trust_remote_code=trust),
        lambda: vocabulary(folder, trust_remote_code=trust),
        lambda: responder.answer_all([(prompt, 0)]),
    ]


def test_code_in_a_folder_is_not_run_and_nobody_is_asked(
    own_code: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on the terminal"))
    for attempt in attempts(own_code, trust=False):
        with pytest.raises(
            CptError, match=r"needs Python code of its own.*--train.trust"
        ) as caught:
            attempt()
        assert "\n" not in str(caught.value)
    assert not list(own_code.parent.rglob("ran"))


def test_code_in_a_folder_is_run_where_that_is_asked_for(own_code: Path) -> None:
    for attempt in attempts(own_code, trust=True):
        attempt()
    assert list(own_code.parent.rglob("ran"))


def test_a_reward_model_runs_no_code_either(own_code: Path) -> None:
    from cpt_judges.reward_model import Scorer

    prompt = cpt.Prompt(id="p", messages=(cpt.Message("user", "abc"),))
    judge = RewardModel(model=str(own_code))
    assert judge.trust_remote_code is False
    scorer = Scorer(model=str(own_code), dtype="auto", device="cpu", batch_tokens=99)
    with pytest.raises(CptError, match="needs Python code of its own"):
        scorer.answer_all([(prompt, 0)])
    assert not list(own_code.parent.rglob("ran"))


def test_a_tokenizer_runs_no_code_either(own_code: Path) -> None:
    file = own_code / "tokenizer_config.json"
    own = {"tokenizer_class": "Own", "auto_map": {"AutoTokenizer": ["own.OwnTokenizer", None]}}
    file.write_text(json.dumps(json.loads(file.read_text()) | own))
    with pytest.raises(CptError):
        load_tokenizer(own_code)
    assert not list(own_code.parent.rglob("ran"))


def test_code_that_runs_is_part_of_what_a_model_is(own_code: Path) -> None:
    unread = digest_of(str(own_code))
    run = digest_of(str(own_code), trust_remote_code=True)
    assert run != unread
    (own_code / "own.py").write_text(CODE + "# another\n")
    assert digest_of(str(own_code), trust_remote_code=True) != run


@pytest.mark.parametrize("kind", [LlamaModel, LlamaForSequenceClassification])
def test_a_checkpoint_without_its_head_is_refused(tmp_path: Path, kind: Any) -> None:
    config = copy.deepcopy(tiny.model().config)
    config.tie_word_embeddings = False
    kind(config).save_pretrained(tmp_path)
    with pytest.raises(CptError, match=r"lm_head.weight of LlamaForCausalLM are not in this"):
        load_model(tmp_path)


def test_lost_weights_are_refused_by_name(tmp_path: Path) -> None:
    tiny.model().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if "layers.1.mlp" not in name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CptError, match=r"layers.1.mlp.*would be random"):
        load_model(tmp_path)


def test_a_model_of_images_is_refused_in_one_short_line(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2_5_vl"}))
    with pytest.raises(CptError, match="transformers has none for Qwen2_5_VLConfig") as caught:
        load_model(tmp_path)
    assert len(str(caught.value)) - len(str(tmp_path)) < 200
    assert "\n" not in str(caught.value)


def test_what_of_a_checkpoint_is_left_out_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny.model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["LlamaForConditionalGeneration"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    with caplog.at_level(logging.WARNING):
        load_model(tmp_path)
    assert "holds LlamaForConditionalGeneration, of which only LlamaForCausalLM is" in caplog.text


def test_nothing_is_said_of_a_checkpoint_that_is_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    tiny.model().save_pretrained(tmp_path)
    load_model(tmp_path)
    assert caplog.text == ""


def test_zero_3_gets_whole_weights_as_a_model_is_tried_before_it_is_sharded(
    tmp_path: Path,
) -> None:
    """accelerate says to transformers that it shards; DeepSpeed itself need not be here."""
    from transformers.integrations import deepspeed

    class Told:
        def is_zero3(self) -> bool:
            return True

    told, folder = Told(), tiny.folder(tmp_path / "base")
    deepspeed.set_hf_deepspeed_config(told)
    try:
        weights = load_model(folder).state_dict()
    finally:
        deepspeed.unset_hf_deepspeed_config()
    saved = load_file(folder / "model.safetensors")
    assert all(torch.equal(weights[name], weight) for name, weight in saved.items())


def test_layers_that_only_look_linear_get_no_adapter() -> None:
    pytest.importorskip("peft")
    model = random_model(config_of(*FAMILIES["phimoe"]))
    adapted = made_trainable(model, Training(lora_rank=2))
    names = {name for name, _ in adapted.named_parameters() if "lora_A" in name}
    assert any("q_proj" in name for name in names)
    assert not any("router" in name or "gate.lora" in name for name in names)
    adapted(input_ids=torch.tensor([[3, 4, 5]]))


def test_mamba_gets_adapters_where_it_can_have_them() -> None:
    pytest.importorskip("peft")
    adapted = made_trainable(random_model(config_of(*FAMILIES["mamba"])), Training(lora_rank=2))
    names = {name for name, _ in adapted.named_parameters() if "lora_A" in name}
    assert any("in_proj" in name for name in names)
    assert not any("out_proj" in name for name in names)


def test_all_linear_layers_of_a_kind_of_their_own_get_adapters() -> None:
    pytest.importorskip("peft")
    model = random_model(config_of(*FAMILIES["falcon"]))
    linear = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    adapted = made_trainable(model, Training(lora_rank=2))
    names = [name for name, _ in adapted.named_parameters() if "lora_A" in name]
    assert len(names) == len(linear) - 1  # but for the head


@pytest.mark.parametrize("kind", ["ctrl", "openai-gpt"])
def test_checkpointing_that_a_model_cannot_do_is_refused(kind: str) -> None:
    model = random_model(config_of(kind, {"dff": 48} if kind == "ctrl" else {}))
    with pytest.raises(CptError, match=r"train.gradient_checkpointing: .* no layers"):
        made_trainable(model, Training(gradient_checkpointing=True))
