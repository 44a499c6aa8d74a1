"""A model's folder, and the model in it, prepared for training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import torch

from cpt.errors import CptError
from cpt.models import hide_bars
from cpt.training.options import Training


def vocabulary(folder: Path) -> int:
    """Number of token ids that a model knows. Raises `CptError`."""
    return int(_config(folder).get_text_config().vocab_size)


def within_positions(options: Training, folder: Path) -> Training:
    """The options with no `max_length` beyond what the model has positions for."""
    limit = getattr(_config(folder).get_text_config(), "max_position_embeddings", None)
    if limit is None or options.max_length <= limit:
        return options
    prompt = options.max_prompt_length
    fits = prompt is not None and prompt < limit
    return attrs.evolve(options, max_length=limit, max_prompt_length=prompt if fits else None)


def load_model(folder: Path) -> Any:
    """A causal language model in fp32, without dropout. Raises `CptError` if there is none.

    Dropout stays off in training too, as the reference would otherwise differ from the policy
    before the first step.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    hide_bars()
    broken = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError)
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except broken as error:
        raise CptError(
            f"{folder}: no causal language model that can be loaded ({_one_line(error)})."
        ) from error
    return model.eval()


def saved_dtype(folder: Path) -> torch.dtype:
    """The number format that a model's weights are stored in."""
    dtype = _config(folder).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def made_trainable(model: Any, options: Training) -> Any:
    """The model with the adapters and the checkpointing that the options ask for."""
    if options.lora_rank:
        model = _with_lora(model, options)
    if options.gradient_checkpointing:
        _checkpoint_activations(model)
    return model


def compile_layers(model: Any) -> None:
    """Compile every decoder layer, for any length; `packed_attention` inside it stays as it is."""
    layers = set(model._no_split_modules or ())
    for module in model.modules():
        if type(module).__name__ in layers:
            module.compile(dynamic=True)


def _with_lora(model: Any, options: Training) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=options.lora_rank,
        lora_alpha=options.lora_alpha or 2 * options.lora_rank,
        target_modules=list(options.lora_targets) or "all-linear",
    )
    try:
        return get_peft_model(model, config).eval()
    except ValueError as error:
        raise CptError(f"train.lora_targets: {_one_line(error)}.") from error


def _checkpoint_activations(model: Any) -> None:
    from transformers.modeling_layers import GradientCheckpointingLayer

    # The name that newer versions of transformers give it; the other one warns there.
    enable = getattr(model, "activation_checkpointing_enable", None)
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    for module in model.modules():
        if isinstance(module, GradientCheckpointingLayer):
            # Its own flag alone: what is inside it stays in eval mode, without dropout.
            module.training = True


def _config(folder: Path) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise CptError(
            f"{folder}: config.json is not of a model known here ({_one_line(error)})."
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
