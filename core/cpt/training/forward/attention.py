"""Attention over a packed sequence: each segment sees its own past and its prefix alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from cpt.training.data.inputs import Segment
from cpt.training.forward.blockwise import blockwise_attention
from cpt.training.forward.varlen import Varlen, usable

NAME = "cpt_packed"
"""The name of this attention in transformers."""


@attrs.frozen(eq=False)
class PackedSequence:
    """How packed inputs are divided: one opaque object for a compiler, whatever the segments."""

    segments: Sequence[Segment]
    varlen: Varlen | None
    """The same for the kernel that computes all of them at once, on an accelerator."""

    @classmethod
    def of(cls, segments: Sequence[Segment], device: torch.device) -> PackedSequence:
        return cls(segments, Varlen.of(segments, device) if device.type == "cuda" else None)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    cpt_packed: PackedSequence | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within segments, as transformers' attention interface wants it.

    `query` has shape (1, heads, time, width), `key` and `value` may have fewer heads. Returns shape
    (1, time, heads, width). Without `cpt_packed` it is ordinary attention under `attention_mask`.
    """
    if cpt_packed is None:
        return _plain(module, query, key, value, attention_mask, scaling, dropout, softcap, kwargs)
    if cpt_packed.varlen is not None and usable(query, dropout, softcap):
        attended = cpt_packed.varlen.attend(query, key, value, scaling, sliding_window)
        return attended.transpose(1, 2), None
    lengths = [segment.length for segment in cpt_packed.segments]
    queries, keys, values = (torch.split(tensor, lengths, dim=2) for tensor in (query, key, value))
    outputs = []
    for segment, q, k, v in zip(cpt_packed.segments, queries, keys, values, strict=True):
        if segment.prefix is not None:
            k = torch.cat([keys[segment.prefix], k], dim=2)
            v = torch.cat([values[segment.prefix], v], dim=2)
        outputs.append(_attend(q, k, v, sliding_window, scaling, dropout, softcap))
    return torch.cat(outputs, dim=2).transpose(1, 2), None


def _mask(query: Tensor, key: Tensor, window: int | None) -> Tensor | None:
    """The keys that each query may see; None where they are its own past."""
    queries, keys = query.shape[2], key.shape[2]
    if queries == keys and (window is None or keys <= window):
        return None
    here = torch.arange(keys - queries, keys, device=query.device)[:, None]
    there = torch.arange(keys, device=query.device)
    seen = there <= here
    return seen if window is None else seen & (there > here - window)


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    window: int | None,
    scaling: float | None,
    dropout: float,
    softcap: float | None,
) -> Tensor:
    mask = _mask(query, key, window)
    if query.is_cpu and not dropout and softcap is None:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
        # In these cases faster than the fused kernel, which computes what is masked too.
        if dtype == torch.bfloat16 or mask is not None:
            q, k, v = (tensor.to(dtype) for tensor in (query, key, value))
            scale = query.shape[-1] ** -0.5 if scaling is None else scaling
            return blockwise_attention(q, k, v, scale, window)
    if softcap is not None:
        return _softcapped(query, key, value, mask, scaling, dropout, softcap)
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=dropout,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _softcapped(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    dropout: float,
    softcap: float,
) -> Tensor:
    """Attention whose scores are squashed into (-softcap, softcap): no fused kernel has it."""
    repeat = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(repeat, dim=1) for tensor in (key, value))
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores = softcap * torch.tanh(query @ key.transpose(2, 3) * (scale / softcap))
    if mask is None:
        mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    # Not -inf: a padding token may see nothing at all, and must not become NaN.
    weights = scores.float().masked_fill(~mask, torch.finfo(torch.float32).min).softmax(-1)
    return functional.dropout(weights.to(value.dtype), dropout) @ value


def _plain(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float | None,
    dropout: float,
    softcap: float | None,
    kwargs: dict[str, Any],
) -> tuple[Tensor, None]:
    if softcap is None:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return plain
    attended = _softcapped(query, key, value, mask, scaling, dropout, softcap)
    return attended.transpose(1, 2), None


# A compiler would compile it again for the segments of every packed sequence.
AttentionInterface.register(NAME, torch.compiler.disable(packed_attention))  # type: ignore[no-untyped-call]
AttentionMaskInterface.register(NAME, sdpa_mask)
