"""The one thing that is trained: token ids in, log-probabilities of the answers out."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import Tensor, nn

from cpt.training import attention
from cpt.training.head import Head, token_logps
from cpt.training.packing import Layout, Micro

log = logging.getLogger(__name__)


class SequenceLogps(nn.Module):
    """A causal language model as the log-probabilities of answers: wrap this for DDP or FSDP.

    `layout` is what `packing.microbatches` needs to know about the model.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.layout = _layout(model)
        if self.layout.packed:
            model.set_attn_implementation(attention.NAME)

    def forward(self, micro: Micro) -> Tensor:
        """log p of every answer token, in fp32, row after row. Shape (answer tokens,)."""
        model = _causal(self.model)
        kwargs: dict[str, Any] = {"attention_mask": micro.mask}
        if micro.spans:
            # A mask of four dimensions is passed on as it is: no mask is built, none is used.
            ignored = torch.empty(1, 1, 1, 1, device=micro.ids.device)
            kwargs = {"attention_mask": ignored, "cpt_spans": micro.spans}
        hidden = model.base_model(
            input_ids=micro.ids, position_ids=micro.positions, use_cache=False, **kwargs
        ).last_hidden_state
        answers = hidden.flatten(0, 1).index_select(0, micro.index)
        return token_logps(answers, micro.targets, head_of(model))


def head_of(model: Any) -> Head:
    """How a model turns hidden states into logits, read from its own parts."""
    linear = model.get_output_embeddings()
    config = model.config.get_text_config()
    softcap = getattr(config, "final_logit_softcapping", None)
    scale = 1.0
    if getattr(config, "logit_scale", None):
        scale = config.logit_scale
    elif getattr(config, "logits_scaling", None):
        scale = 1 / config.logits_scaling
    return Head(weight=linear.weight, bias=linear.bias, scale=scale, softcap=softcap)


def _causal(model: Any) -> Any:
    """The language model itself, without what PEFT wraps around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _layout(model: Any) -> Layout:
    causal = _causal(model)
    config = causal.config.get_text_config()
    body = sum(
        each.numel() for name, each in causal.base_model.named_parameters() if "embed" not in name
    )
    packed = bool(causal._supports_attention_backend and not causal._is_stateful)
    if not packed:
        log.warning("%s: rows are padded, since it cannot be packed.", type(causal).__name__)
        return Layout()
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return Layout(
        packed=True,
        shared=True,
        per_token=2.0 * body,
        per_key=4.0 * config.num_hidden_layers * config.num_attention_heads * width,
    )
