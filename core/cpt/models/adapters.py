"""A folder that holds an adapter only: merged with its base it is a model like any other."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cpt.errors import CptError, first_line
from cpt.files import read_json
from cpt.models import derived
from cpt.paths import cache_folder

CONFIG = "adapter_config.json"
CAUSAL = (None, "CAUSAL_LM")
"""Tasks of adapters that are merged."""


def base_of(adapter: Path) -> str:
    """The model that an adapter is for, as its configuration names it. Raises `CptError`."""
    config = read_json(adapter / CONFIG)
    if not isinstance(config, dict):
        raise CptError(f"{adapter / CONFIG}: no configuration of an adapter, which is a table.")
    task = config.get("task_type")
    if task not in CAUSAL:
        raise CptError(f"{adapter}: holds an adapter for {task}; merge it into its model first.")
    base = config.get("base_model_name_or_path")
    if not (isinstance(base, str) and base):
        raise CptError(
            f"{adapter}: holds an adapter only; name the model that it is for as "
            f"base_model_name_or_path in its {CONFIG}."
        )
    beside = adapter / base
    return str(beside) if beside.is_dir() else str(base)


def merged(adapter: Path, base: Path, digest: str) -> Path:
    """The folder of the merged model, made once and kept in the cache. Raises `CptError`.

    `digest` is that of the base's weights. The merged weights are fp32, so that nothing of the
    adapter is lost, whatever format the configuration names.
    """
    folder = cache_folder() / "merged" / _digest(adapter, digest)
    if not folder.is_dir():
        _publish(folder, lambda temporary: _merge(adapter, base, temporary))
        import logging  # slow to import

        logging.getLogger("cpt").warning(
            "%s: an adapter, merged with %s in %s", adapter, base, folder
        )
    return folder


def _digest(adapter: Path, base: str) -> str:
    made = hashlib.blake2b(base.encode(), digest_size=16)
    for file in sorted(file for file in adapter.iterdir() if file.is_file()):
        made.update(file.name.encode() + hashlib.blake2b(file.read_bytes()).digest())
    return made.hexdigest()


def _publish(folder: Path, write: Callable[[Path], None]) -> None:
    """Write a folder that other processes may be writing too."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        write(temporary)
        if not folder.is_dir():
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _merge(adapter: Path, base: Path, folder: Path) -> None:
    model = _loaded(adapter, base)
    derived.untie(model)
    model = model.merge_and_unload()
    model.save_pretrained(folder)
    derived.copy_beside_weights(base, folder)
    derived.copy_beside_weights(adapter, folder)  # its tokenizer and template, if it has them
    derived.keep_config(base, folder, model)
    derived.keep_generation(base, folder, model.generation_config.eos_token_id)


def _loaded(adapter: Path, base: Path) -> Any:
    import torch
    from peft import PeftModel
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    broken = (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError)
    try:
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about shared matrices: they are parted here
            return PeftModel.from_pretrained(model, str(adapter)).eval()
    except broken as error:
        raise CptError(
            f"{adapter}: an adapter that does not fit its base model {base} ({first_line(error)})."
        ) from error
