"""A model's folder, and the model in it, prepared for training."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from functools import cache, partial
from pathlib import Path
from typing import Any

import attrs
import torch

from cpt.errors import CptError
from cpt.files import read_json
from cpt.models import hide_bars, refuse_own_code
from cpt.training.forward.loading.formats import format_of
from cpt.training.options import Training, Weights

log = logging.getLogger(__name__)

MOST_NAMED = 3
"""Weights that a message names."""
MAMBA = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
NOT_IN_MAMBA = {"conv1d", "out_proj"}
"""Layers that PEFT refuses in these types: their kernels read the weights past any adapter."""


def vocabulary(folder: Path, *, trust_remote_code: bool = False) -> int:
    """Number of token ids that a model knows. Raises `CptError`."""
    return int(config_of(folder, trust_remote_code).get_text_config().vocab_size)


def within_positions(options: Training, folder: Path) -> Training:
    """The options with no `max_length` beyond what the model has positions for."""
    config = config_of(folder, options.trust_remote_code).get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if limit is None or not 0 < limit < options.max_length:
        return options
    prompt = options.max_prompt_length
    fits = prompt is not None and prompt < limit
    return attrs.evolve(options, max_length=limit, max_prompt_length=prompt if fits else None)


def load_model(folder: Path, *, trust_remote_code: bool = False, weights: Weights = "fp32") -> Any:
    """A causal language model, without dropout. Raises `CptError` if there is none.

    Dropout stays off in training too, as the reference would otherwise differ from the policy
    before the first step. Code in the folder is run only with `trust_remote_code`.
    """
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    hide_bars()
    _forget_deepspeed()
    broken = (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError)
    try:
        with _without_report():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                output_loading_info=True,
                trust_remote_code=trust_remote_code,
                **format_of(weights),
            )
    except broken as error:
        refuse_own_code(folder, error)
        raise CptError(f"{folder}: {_why_not(error)}.") from error
    _refuse_missing(folder, model, report["missing_keys"])
    _warn_of_another_class(folder, model)
    return model.eval()


def _forget_deepspeed() -> None:
    """Load all of every weight, as a model is tried before it is sharded.

    accelerate tells transformers of ZeRO-3, which would then load a part in each process.
    """
    from transformers.integrations.deepspeed import unset_hf_deepspeed_config

    unset_hf_deepspeed_config()


@contextmanager
def _without_report() -> Iterator[None]:
    """Without the table of weights that transformers prints; what matters of it is said here."""
    said = logging.getLogger("transformers.modeling_utils")
    # Not by its level: where that is set, transformers speaks of layers that are not sharded.
    said.addFilter(_is_error)
    try:
        yield
    finally:
        said.removeFilter(_is_error)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR


def saved_dtype(folder: Path, *, trust_remote_code: bool = False) -> torch.dtype:
    """The number format that a model's weights are stored in."""
    dtype = config_of(folder, trust_remote_code).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def made_trainable(model: Any, options: Training) -> Any:
    """The model with the adapters and the checkpointing that the options ask for.

    Raises `CptError` if it cannot have them.
    """
    if options.lora_rank:
        model = _with_lora(model, options)
    if options.gradient_checkpointing:
        checkpoint_activations(model)
    return model


def compile_layers(model: Any) -> None:
    """Compile every decoder layer, for any length; `packed_attention` inside it stays as it is."""
    layers = set(model._no_split_modules or ())
    for module in model.modules():
        if type(module).__name__ in layers:
            twice = getattr(module, "_gradient_checkpointing_func", None)
            # What is computed twice is compiled inside of that, which no compiler looks through.
            if isinstance(twice, _Twice):
                module._gradient_checkpointing_func = attrs.evolve(twice, compiled=True)
            else:
                module.compile(dynamic=True)


def checkpoint_activations(model: Any) -> None:
    """Let every layer compute its activations again in the backward pass. Raises `CptError`."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [layer for layer in model.modules() if isinstance(layer, GradientCheckpointingLayer)]
    if not layers:
        raise CptError(
            f"train.gradient_checkpointing: {_name(model)} has no layers whose activations can be "
            "computed twice; leave the option out."
        )
    for layer in layers:
        layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = _Twice(layer)
        # What makes transformers call that; inside the call the layer is in eval mode again.
        layer.training = True


@attrs.frozen(eq=False)
class _Twice:
    """Computes a layer without dropout, and again when its gradient is wanted."""

    layer: torch.nn.Module
    compiled: bool = False

    def __call__(self, compute: Any, *inputs: Any) -> Any:
        from torch.utils.checkpoint import checkpoint

        if self.compiled:
            compute = partial(_compiled(compute.func), *compute.args, **compute.keywords)
        # What is being computed, which the backward pass comes too late to know.
        context = copy_context()

        def computed(*inputs: Any) -> Any:
            self.layer.training = False
            try:
                return context.run(compute, *inputs)
            finally:
                self.layer.training = True

        # Without dropout there are no random numbers to draw again.
        return checkpoint(computed, *inputs, use_reentrant=False, preserve_rng_state=False)


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)


def _with_lora(model: Any, options: Training) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=options.lora_rank,
        lora_alpha=options.lora_alpha or 2 * options.lora_rank,
        target_modules=list(options.lora_targets) or lora_targets(model),
        use_dora=options.dora,
    )
    try:
        return get_peft_model(model, config).eval()
    except ValueError as error:
        raise CptError(f"train.lora_targets: {_one_line(error)}.") from error


def lora_targets(model: Any) -> str | list[str]:
    """All linear layers; by name, if some only look like one: routers, grouped experts."""
    if getattr(model, "is_quantized", False):
        return "all-linear"  # they cannot be tried with zeros
    output = model.get_output_embeddings()
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not output
    }
    refused = NOT_IN_MAMBA if model.config.model_type in MAMBA else set()
    plain = [
        name
        for name, module in linear.items()
        if _is_linear(module) and name.rpartition(".")[2] not in refused
    ]
    return "all-linear" if len(plain) == len(linear) else plain


def _is_linear(layer: torch.nn.Linear) -> bool:
    """Whether it maps vectors to vectors: a subclass may do anything."""
    if type(layer) is torch.nn.Linear:
        return True
    try:
        with torch.no_grad():
            outputs = layer(layer.weight.new_zeros(1, 1, layer.in_features))
    except (RuntimeError, TypeError, ValueError, IndexError):
        return False
    return isinstance(outputs, torch.Tensor) and outputs.shape == (1, 1, layer.out_features)


def _refuse_missing(folder: Path, model: Any, missing: Collection[str]) -> None:
    """Raise `CptError` if some weights of the model are random numbers."""
    if missing:
        raise CptError(
            f"{folder}: {_named(missing)} of {_name(model)} are not in this checkpoint, so they "
            "would be random; it needs a whole causal language model, with its head."
        )


def whole_class(folder: Path, model: Any) -> type[Any] | None:
    """The class of transformers for all that a folder holds; None if that is the model's own."""
    import transformers

    saved = _saved_as(folder)
    if not saved or read_json(folder / "config.json").get("model_type") == model.config.model_type:
        return None
    kind = getattr(transformers, saved[0], None)
    return kind if hasattr(kind, "from_pretrained") else None


def _saved_as(folder: Path) -> list[str]:
    """The classes that a folder was saved from; of the text part alone, transformers forgets it."""
    config = read_json(folder / "config.json") or {}
    return [str(name) for name in config.get("architectures") or ()]


def _warn_of_another_class(folder: Path, model: Any) -> None:
    """Say so where the folder holds more than is trained: images, sounds, a classifier."""
    saved = _saved_as(folder)
    if saved and _name(model).lower() not in [name.lower() for name in saved]:
        kept = whole_class(folder, model) is not None
        log.warning(
            "%s: holds %s, of which only %s is trained%s.",
            folder,
            ", ".join(saved),
            _name(model),
            "; the rest is exported as it is" if kept else " and exported: text alone",
        )


def _why_not(error: Exception) -> str:
    """Why there is no model: transformers names all classes that it knows."""
    text = _one_line(error)
    if "Unrecognized configuration class" in text:
        kind = text.partition("<class '")[2].partition("'")[0].rpartition(".")[2]
        return (
            f"no causal language model, as transformers has none for {kind or 'its configuration'}"
            "; models of images or with an encoder can be trained only where it has their text "
            "part"
        )
    return f"no causal language model that can be loaded ({text})"


def config_of(folder: Path, trust_remote_code: bool) -> Any:
    """The configuration in a model's folder. Raises `CptError`."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError) as error:
        refuse_own_code(folder, error)
        raise CptError(
            f"{folder}: config.json is not of a model known here ({_one_line(error)})."
        ) from error


def _named(names: Collection[str]) -> str:
    some = ", ".join(sorted(names)[:MOST_NAMED])
    more = len(names) - MOST_NAMED
    return f"{some} and {more} more" if more > 0 else some


def _name(model: Any) -> str:
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    return type(inner).__name__


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
