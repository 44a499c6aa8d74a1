"""Attention over a packed sequence: each segment sees its own past and its prefix alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from cpt.training.data.inputs import Segment
from cpt.training.forward.attention import varlen
from cpt.training.forward.attention.blockwise import blockwise_attention, causal_mask
from cpt.training.forward.attention.varlen import Varlen

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


@attrs.frozen(eq=False)
class Extras:
    """What a model does to the scores and weights of its attention."""

    scaling: float | None
    """What scores are multiplied by; by default one over the root of head_dim."""
    dropout: float
    softcap: float | None
    """Scores are squashed into (-softcap, softcap) (Gemma)."""
    sinks: Tensor | None
    """A score of each head, for nothing (GPT-OSS). Shape (heads,)."""

    @property
    def fused(self) -> bool:
        """Whether the fused kernels can do it."""
        return self.softcap is None and self.sinks is None

    def scale(self, query: Tensor) -> float:
        scale: float = query.shape[-1] ** -0.5 if self.scaling is None else self.scaling
        return scale


CURRENT: ContextVar[PackedSequence | None] = ContextVar("CURRENT", default=None)
"""The packed sequence that a model is computing."""


@contextmanager
def computing(packed: PackedSequence | None) -> Iterator[None]:
    """Inside it attention is over a packed sequence, or ordinary where that is None."""
    token = CURRENT.set(packed)
    try:
        yield
    finally:
        CURRENT.reset(token)


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
    s_aux: Tensor | None = None,
    cpt_packed: PackedSequence | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attend within segments, as transformers' attention interface wants it.

    `query` has shape (1, heads, seq_len, head_dim), `key` (1, kv_heads, seq_len, head_dim) and
    `value` (1, kv_heads, seq_len, its own head_dim). `s_aux` are the sinks: a score for each head
    that takes weight from all keys. Returns shape (1, seq_len, heads, head_dim of `value`),
    contiguous. Without `cpt_packed` it is ordinary attention under `attention_mask`.
    """
    extras = Extras(scaling, dropout, softcap, s_aux)
    # Some layers do not pass on what they are called with.
    cpt_packed = cpt_packed or CURRENT.get()
    if sliding_window is None:
        sliding_window = _window_of(module)
    if cpt_packed is None:
        return _plain(module, query, key, value, attention_mask, extras, kwargs)
    if cpt_packed.varlen is not None and varlen.usable(query, value, dropout, softcap, s_aux):
        attended = cpt_packed.varlen.attend(query, key, value, scaling, sliding_window)
        return attended.transpose(1, 2).contiguous(), None
    lengths = [segment.length for segment in cpt_packed.segments]
    queries, keys, values = (torch.split(tensor, lengths, dim=2) for tensor in (query, key, value))
    outputs = []
    for segment, q, k, v in zip(cpt_packed.segments, queries, keys, values, strict=True):
        if segment.prefix is not None:
            k = torch.cat([keys[segment.prefix], k], dim=2)
            v = torch.cat([values[segment.prefix], v], dim=2)
        outputs.append(_attend(q, k, v, sliding_window, extras).transpose(1, 2))
    return torch.cat(outputs, dim=1), None


def _window_of(module: nn.Module) -> int | None:
    """The window of a layer; that of the whole model where only its mask has one (Phi-MoE)."""
    config = getattr(module, "config", None)
    # Others have it by layer, or keep what the model that they were made from had.
    alike = hasattr(type(config), "sliding_window") and not hasattr(config, "layer_types")
    everywhere = getattr(config, "sliding_window", None) if alike else None
    window: int | None = getattr(module, "sliding_window", everywhere)
    return window


def _attend(
    query: Tensor, key: Tensor, value: Tensor, window: int | None, extras: Extras
) -> Tensor:
    mask = causal_mask(query, key, window)
    if not extras.fused:
        return _explicit(query, key, value, mask, extras)
    if query.is_cpu and not extras.dropout:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else query.dtype
        # In these cases faster than the fused kernel, which computes what is masked too.
        if dtype == torch.bfloat16 or mask is not None:
            q, k, v = (tensor.to(dtype) for tensor in (query, key, value))
            return blockwise_attention(q, k, v, extras.scale(query), window)
    if not query.is_cpu:
        # With fewer heads of keys, kernels for fp32 and for masks are only the slowest.
        key, value = _repeated(query, key, value)
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=extras.dropout,
        is_causal=mask is None,
        scale=extras.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _explicit(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, extras: Extras
) -> Tensor:
    """Attention with scores that no fused kernel has: squashed ones, or with sinks."""
    key, value = _repeated(query, key, value)
    scores = _scores(query, key, extras)
    if mask is None:
        mask = torch.ones(scores.shape[2:], dtype=torch.bool, device=scores.device).tril()
    # Not -inf: a padding token may see nothing at all, and must not become NaN.
    scores = scores.float().masked_fill(~mask, torch.finfo(torch.float32).min)
    if extras.sinks is not None:
        sinks = extras.sinks.float().view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        scores = torch.cat([scores, sinks], dim=3)
    weights = scores.softmax(-1)[..., : key.shape[2]]
    return functional.dropout(weights.to(value.dtype), extras.dropout) @ value


def _repeated(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values for each head of the queries. Shapes (1, heads, seq_len, head_dim)."""
    repeat = query.shape[1] // key.shape[1]
    if repeat == 1:
        return key, value
    return key.repeat_interleave(repeat, dim=1), value.repeat_interleave(repeat, dim=1)


def _scores(query: Tensor, key: Tensor, extras: Extras) -> Tensor:
    scale, softcap = extras.scale(query), extras.softcap
    if softcap is None:
        return query @ key.transpose(2, 3) * scale
    return softcap * torch.tanh(query @ key.transpose(2, 3) * (scale / softcap))


def _plain(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    extras: Extras,
    kwargs: dict[str, Any],
) -> tuple[Tensor, None]:
    if extras.fused:
        plain: tuple[Tensor, None] = sdpa_attention_forward(
            module,
            query,
            key,
            value,
            mask,
            dropout=extras.dropout,
            scaling=extras.scaling,
            **kwargs,
        )
        return plain
    return _explicit(query, key, value, mask, extras).transpose(1, 2).contiguous(), None


# A compiler would compile it again for the segments of every packed sequence.
AttentionInterface.register(NAME, torch.compiler.disable(packed_attention))  # type: ignore[no-untyped-call]
AttentionMaskInterface.register(NAME, sdpa_mask)
