"""What a model's classes and configuration say of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cpt.training.data.packing import Layout

SEGMENT_FLOPS = 2e7
"""FLOPs that could be done in the time that one more segment takes a layer, measured on a CPU."""

KNOWN_LAYERS = {"attention", "full_attention", "sliding_attention", "mlp", "moe"}
"""Kinds of layer in which only attention joins tokens, in ways that `attention` knows."""

RECURRENT_LAYERS = {"conv", "linear_attention", "mamba"}
"""Kinds of layer that join tokens by a state or a short convolution."""


def backbone_of(model: Any) -> Any | None:
    """The part of a model that gives hidden states; None if it has no such part."""
    decoder = getattr(model, "get_decoder", lambda: None)()
    parts = (model.base_model, decoder, getattr(model, "model", None))
    return next((part for part in parts if part is not None and part is not model), None)


def why_not_packed(model: Any) -> str | None:
    """Why packing need not be tried; None if it may work."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    if model._is_stateful and not (kinds and kinds <= KNOWN_LAYERS):
        return "it has recurrent layers"
    if kinds - KNOWN_LAYERS:
        return "it has layers other than full and sliding attention"
    if not model._can_set_attn_implementation():
        return "its attention cannot be replaced"
    return None


def is_recurrent(model: Any) -> bool:
    """Whether recurrent layers join its tokens, which kernels may keep apart, and attention."""
    kinds = set(getattr(model.config.get_text_config(), "layer_types", None) or ())
    known = kinds <= KNOWN_LAYERS | RECURRENT_LAYERS
    return known and bool(model._is_stateful or kinds & RECURRENT_LAYERS)


def longest_together(model: Any) -> int | None:
    """Most tokens read of a row that may share a call; None if any may.

    Beyond it a model's results depend on the longest row of the call.
    """
    limits = [limit for config in configs_of(model) for limit in _limits(config)]
    return min(limits, default=None)


def _limits(config: Any) -> Iterator[int]:
    for rope in _ropes(getattr(config, "rope_parameters", None)):
        kind = str(rope.get("rope_type"))
        if "dynamic" in kind or kind == "longrope":
            # The last token of a row counts, though it is only predicted.
            yield _original_positions(config, rope) - 1
    if config.model_type == "doge":
        # It keeps the best keys, and which of equals they are depends on the padding.
        yield config.keep_window_size
    if type(topk := getattr(config, "index_topk", None)) is int:
        # Sparse attention: of fewer keys than it picks it sees all, padding or not.
        yield topk


def _original_positions(config: Any, rope: dict[str, Any]) -> int:
    own = getattr(config, "original_max_position_embeddings", None)
    return int(
        rope.get("original_max_position_embeddings") or own or config.max_position_embeddings
    )


def _ropes(parameters: Any) -> Iterator[dict[str, Any]]:
    """The parameters of RoPE, of each kind of layer that has its own."""
    if isinstance(parameters, dict):
        yield parameters
        for value in parameters.values():
            yield from _ropes(value)


def fresh_positions(model: Any) -> None:
    """Undo what dynamic RoPE keeps of the longest row so far: each row is scaled by its own."""
    for module in model.modules():
        for name in [name for name in vars(module) if name.endswith("max_seq_len_cached")]:
            kind = name.removesuffix("max_seq_len_cached")
            original = getattr(module, f"{kind}original_inv_freq", None)
            current = getattr(module, f"{kind}inv_freq", None)
            if original is not None and current is not None:
                setattr(module, f"{kind}inv_freq", original.clone().to(current.device))
                setattr(module, name, module.original_max_seq_len)


def configs_of(model: Any) -> list[Any]:
    """All configurations that parts of a model read, each once."""
    holders = [model, *model.modules()]
    found = [config for holder in holders if (config := getattr(holder, "config", None))]
    found.append(model.config.get_text_config())
    return list({id(config): config for config in found if hasattr(config, "__dict__")}.values())


def costs_of(model: Any) -> Layout:
    """Everything allowed, with its costs."""
    config = model.config.get_text_config()
    embeddings = {
        id(module) for module in (model.get_input_embeddings(), model.get_output_embeddings())
    }
    weights = sum(
        parameter.numel()
        for module in model.modules()
        if id(module) not in embeddings
        for parameter in module.parameters(recurse=False)
    )
    return Layout(
        packed=True,
        shared=True,
        per_token=2.0 * weights,
        per_key=4.0 * config.num_hidden_layers * config.num_attention_heads * _width(config),
        per_segment=SEGMENT_FLOPS * config.num_hidden_layers,
    )


def _width(config: Any) -> int:
    """The width of an attention head; where layers differ in it, what most have."""
    try:
        width = getattr(config, "head_dim", None)
    except RuntimeError:  # transformers: it differs by layer
        width = None
    return int(width or config.hidden_size // config.num_attention_heads)
