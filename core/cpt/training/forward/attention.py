"""Attention over a packed line: each span sees its own past and its prefix, nothing else."""

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

from cpt.training.data.packing import Span
from cpt.training.forward.blockwise import blockwise_attention
from cpt.training.forward.varlen import Varlen, usable

NAME = "cpt_packed"
"""What transformers knows this attention by."""


@attrs.frozen(eq=False)
class Line:
    """How a packed line is divided: one object, whatever its spans, in the eyes of a compiler."""

    spans: Sequence[Span]
    varlen: Varlen | None
    """The same for the kernel that does them all at once, on an accelerator."""

    @classmethod
    def of(cls, spans: Sequence[Span], device: torch.device) -> Line:
        return cls(spans, Varlen.of(spans, device) if device.type == "cuda" else None)


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
    cpt_line: Line | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within spans, as transformers' attention interface wants it.

    `query` has shape (1, heads, time, width), `key` and `value` may have fewer heads. Returns shape
    (1, time, heads, width). Without a line it is ordinary attention under `attention_mask`.
    """
    if cpt_line is None:
        return _plain(module, query, key, value, attention_mask, scaling, dropout, softcap, kwargs)
    if cpt_line.varlen is not None and usable(query, dropout, softcap):
        together = cpt_line.varlen.attend(query, key, value, scaling, sliding_window)
        return together.transpose(1, 2), None
    lengths = [span.length for span in cpt_line.spans]
    queries, keys, values = (torch.split(each, lengths, dim=2) for each in (query, key, value))
    attended = []
    for span, q, k, v in zip(cpt_line.spans, queries, keys, values, strict=True):
        if span.prefix is not None:
            k = torch.cat([keys[span.prefix], k], dim=2)
            v = torch.cat([values[span.prefix], v], dim=2)
        attended.append(_attend(q, k, v, sliding_window, scaling, dropout, softcap))
    return torch.cat(attended, dim=2).transpose(1, 2), None


def _mask(query: Tensor, key: Tensor, window: int | None) -> Tensor | None:
    """What each query may see, None where that is simply its own past."""
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
            q, k, v = (each.to(dtype) for each in (query, key, value))
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
    key, value = (each.repeat_interleave(repeat, dim=1) for each in (key, value))
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


# A compiler would compile it anew for the spans of every line.
AttentionInterface.register(NAME, torch.compiler.disable(packed_attention))  # type: ignore[no-untyped-call]
AttentionMaskInterface.register(NAME, sdpa_mask)
