"""What the folder of a model that was made from another takes over from the other's folder.

Training and merging change weights. Configuration, tokenizer and chat template are copied, so that
any version of any tool that loads the one loads the other: what a newer transformers writes, older
ones may misread.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from cpt.files import read_json

COPIED = (".json", ".jinja", ".model", ".txt", ".tiktoken", ".py")
"""Endings of the files beside the weights: tokenizer, template, processor, code."""
TERMS = ("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")
"""Beginnings of the files that say under which terms a model may be used."""
WRITTEN = ("config.json", "generation_config.json", "adapter_config.json")
"""Files that are not copied as they are."""
DTYPE = ("dtype", "torch_dtype")
"""Both names of the number format: transformers 5 writes the first, versions before 4.56 read
only the second."""


def copy_beside_weights(base: Path, folder: Path) -> None:
    """Copy the tokenizer's files and others that belong to the weights."""
    for file in base.iterdir():
        if file.is_file() and _belongs(file.name):
            shutil.copyfile(file, folder / file.name)
    templates = base / "additional_chat_templates"
    if templates.is_dir():
        shutil.copytree(templates, folder / templates.name, dirs_exist_ok=True)


def _belongs(name: str) -> bool:
    if name.upper().startswith(TERMS):
        return True
    index = name.endswith(".index.json")
    return name.endswith(COPIED) and name not in WRITTEN and not index


def keep_config(base: Path, folder: Path, model: Any, dtype: str = "") -> None:
    """Make `config.json` that of the base, but for what was changed; with another `dtype` if given.

    A model of another type than the base's (the text part of one with vision) keeps its own.
    """
    config: dict[str, Any] = read_json(base / "config.json")
    if config.get("model_type") != model.config.model_type:
        return
    config["architectures"] = [type(model).__name__]
    if not model.can_generate():  # a classifier that was made of it
        config["id2label"], config["label2id"] = {"0": "LABEL_0"}, {"LABEL_0": 0}
    config.pop("quantization_config", None)  # what is written is not quantized
    if dtype:
        _set_dtype(config, dtype)
    _set_tying(config, model.config)
    if not any(folder.glob("*.py")):
        config.pop("auto_map", None)
    _write(folder / "config.json", config)


def keep_generation(base: Path, folder: Path, stops: int | list[int] | None) -> None:
    """Make `generation_config.json` that of the base, if it has one, with these EOS tokens."""
    source = base / "generation_config.json"
    file = source if source.exists() else folder / "generation_config.json"
    if file.exists():
        _write(folder / file.name, read_json(file) | {"eos_token_id": stops})


def keep_template(folder: Path, template: Any) -> None:
    """Add the chat template that the model was trained with, if the copied files lack it."""
    from transformers import AutoTokenizer

    if AutoTokenizer.from_pretrained(folder).chat_template == template:
        return
    alone = folder / "chat_template.jinja"
    if alone.exists():
        alone.write_text(template, encoding="utf-8")
        return
    file = folder / "tokenizer_config.json"
    _write(file, (read_json(file) or {}) | {"chat_template": template})


def untie(model: Any) -> None:
    """Give head and embeddings a matrix each, if they share one and either has an adapter.

    `model` is PEFT's. Merging into the shared matrix would change both.
    """
    import torch

    base = model.get_base_model()
    head, embeddings = base.get_output_embeddings(), base.get_input_embeddings()
    adapted = any(hasattr(part, "base_layer") for part in (head, embeddings))
    if not adapted or head.weight is not embeddings.weight:
        return
    layer = getattr(head, "base_layer", head)
    layer.weight = torch.nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
    for config in (base.config, base.config.get_text_config()):
        config.tie_word_embeddings = False


def _set_dtype(config: dict[str, Any], dtype: str) -> None:
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    for part in parts:
        part |= {name: dtype for name in DTYPE if name in part}
    if not any(name in config for name in DTYPE):
        config[DTYPE[1]] = dtype


def _set_tying(config: dict[str, Any], current: Any) -> None:
    """Say that embeddings and head are two matrices, where training made them so."""
    if getattr(current.get_text_config(), "tie_word_embeddings", True):
        return
    for part in [config, *(part for part in config.values() if isinstance(part, dict))]:
        if part is config or "tie_word_embeddings" in part:
            part["tie_word_embeddings"] = False


def _write(file: Path, content: dict[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
