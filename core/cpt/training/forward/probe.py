"""What a model allows, found by trying: a few tokens are computed each way and compared.

No list of architectures is ever complete. So each short cut is tried on the model, and used only
if it gives the results of the model itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from cpt.training.data.inputs import ModelInputs
from cpt.training.data.packing import Layout, model_inputs
from cpt.training.data.sequences import TokenSequence
from cpt.training.forward import attention
from cpt.training.forward.head import Head

log = logging.getLogger(__name__)

SEGMENT_FLOPS = 2e7
"""FLOPs that could be done in the time that one more segment takes a layer, measured on a CPU."""

KNOWN_LAYERS = {"full_attention", "sliding_attention"}
"""Kinds of layer in which only attention joins tokens, in ways that `attention` knows."""


def find_head(model: Any) -> Head | None:
    """The head of a causal language model, or None (and a warning) if it is unknown."""
    output = model.get_output_embeddings()
    if output is None or _is_meta(model):
        return None if output is None else next(_heads(model))
    with _quiet(model):
        ids = _ids(model, 0, 7)[None]
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        logits = model(input_ids=ids, use_cache=False).logits
        for head in _heads(model):
            if _same(model, head.logits(hidden), logits.float()):
                return head
    log.warning("%s: its head is unknown, so all its logits are computed.", _name(model))
    return None


def find_layout(model: Any, score: Callable[[ModelInputs], Tensor]) -> Layout:
    """The best layout in which `score` gives the log-probabilities of sequences one by one.

    Gives the model an attention that can be packed, unless there is a warning.
    """
    reason = _cannot_pack(model)
    if reason is None:
        before = model.config._attn_implementation
        alone = None if _is_meta(model) else _alone(model, score)
        model.set_attn_implementation(attention.NAME)
        layout = _layout(model)
        if alone is None or _same(model, _together(model, score, layout), alone):
            return layout
        layout = attrs.evolve(layout, shared=False)
        if _same(model, _together(model, score, layout), alone):
            log.warning(
                "%s: answers cannot share a prompt, so each is computed with its own.", _name(model)
            )
            return layout
        model.set_attn_implementation(before)
        reason = "its results change when they are packed"
    log.warning("%s: sequences are padded, as %s.", _name(model), reason)
    return Layout()


def _heads(model: Any) -> Iterator[Head]:
    """The heads that a model's configuration may mean, the likeliest first."""
    config = model.config.get_text_config()
    scales = [
        power
        for name in ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
        if (scale := getattr(config, name, None))
        for power in ((1 / scale, scale) if name == "logits_scaling" else (scale,))
    ]
    softcap = getattr(config, "final_logit_softcapping", None)
    for scale, cap in product([*scales, 1.0], [softcap, None] if softcap else [None]):
        yield Head(output=model.get_output_embeddings(), scale=scale, softcap=cap)


def _cannot_pack(model: Any) -> str | None:
    config = model.config.get_text_config()
    if model._is_stateful:
        return "it has recurrent layers"
    if set(getattr(config, "layer_types", None) or ()) - KNOWN_LAYERS:
        return "it has layers other than full and sliding attention"
    if not model._supports_attention_backend:
        return "its attention cannot be replaced"
    return None


def _layout(model: Any) -> Layout:
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
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return Layout(
        packed=True,
        shared=True,
        per_token=2.0 * weights,
        per_key=4.0 * config.num_hidden_layers * heads * width,
        per_segment=SEGMENT_FLOPS * config.num_hidden_layers,
    )


def _alone(model: Any, score: Callable[[ModelInputs], Tensor]) -> Tensor:
    """Log-probabilities of the sequences of `_sequences`, one call for each."""
    with _quiet(model):
        calls = [model_inputs([[sequence]], 1, Layout())[0] for sequence in _sequences(model)]
        return torch.cat([score(inputs.to(model.device)) for inputs in calls])


def _together(model: Any, score: Callable[[ModelInputs], Tensor], layout: Layout) -> Tensor:
    """The same in one call."""
    first, second, third = _sequences(model)
    # Without costs, as so short a prompt would not be shared.
    layout = attrs.evolve(layout, per_key=0.0, per_segment=0.0)
    (inputs,) = model_inputs([[first, second], [third]], 99, layout)
    with _quiet(model):
        return score(inputs.to(model.device))


def _sequences(model: Any) -> list[TokenSequence]:
    """Two answers to one prompt, and one to another."""
    prompts = [_ids(model, start, 5).cpu().numpy() for start in (1, 1, 3)]
    answers = [_ids(model, start, 2 + start).cpu().numpy() for start in (0, 1, 2)]
    return [TokenSequence(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]


def _ids(model: Any, start: int, length: int) -> Tensor:
    """Ids spread over the vocabulary, different ones for each `start`."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = (np.arange(1, length + 1) * 7919 + start * 104729) % vocabulary
    return torch.from_numpy(ids).to(model.device)


def _same(model: Any, found: Tensor, wanted: Tensor) -> bool:
    """Whether two results differ by rounding only, relative to how much they vary."""
    tolerance = 1e-3 if model.dtype == torch.float32 else 5e-2
    error = (found - wanted).norm() / (wanted - wanted.mean()).norm()
    return bool(error <= tolerance)


@contextmanager
def _quiet(model: Any) -> Iterator[None]:
    """No gradients, no dropout; afterwards every module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            yield model.eval()
    finally:
        for module, training in modes:
            module.training = training


def _is_meta(model: Any) -> bool:
    return any(parameter.is_meta for parameter in model.parameters())


def _name(model: Any) -> str:
    return type(model).__name__
