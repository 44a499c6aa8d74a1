"""All segments of a packed sequence in one call of flash attention, on an accelerator."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from itertools import accumulate, chain
from typing import Any

import attrs
import torch
from torch import Tensor
from torch.nn import functional

from cpt.training.data.inputs import Segment, copied

try:
    from torch.nn.attention.varlen import varlen_attn

    TAKES = frozenset(signature(varlen_attn).parameters)
except ImportError:  # torch before 2.10
    TAKES = frozenset()
AVAILABLE = {"scale", "window_size"} <= TAKES
ASKS_FOR_GQA = "enable_gqa" in TAKES
"""Whether it has to be told that keys have fewer heads; before, it took them as they are."""


@attrs.frozen(eq=False)
class Varlen:
    """Where the queries and keys of each segment are, under the names of flash attention."""

    cu_seqlens_q: Tensor
    """Where segments begin among the queries, and the end. Shape (segments + 1,)."""
    cu_seqlens_k: Tensor
    """The same among the keys: those of the prefix, then a segment's own. Shape (segments + 1,)."""
    gather: Tensor | None
    """The index of each key's token, if there are prefixes. Shape (keys,)."""
    max_seqlen_q: int
    max_seqlen_k: int

    @classmethod
    def of(cls, segments: Sequence[Segment], device: torch.device) -> Varlen:
        """Empty segments are left out."""
        starts = list(accumulate((segment.length for segment in segments), initial=0))
        keys = [
            [*_tokens(segments, starts, segment.prefix), *range(start, start + segment.length)]
            for start, segment in zip(starts, segments, strict=False)
            if segment.length
        ]
        lengths = [segment.length for segment in segments if segment.length]
        prefixes = any(segment.prefix is not None for segment in segments)
        return cls(
            cu_seqlens_q=offsets(lengths, device),
            cu_seqlens_k=offsets([len(indices) for indices in keys], device),
            gather=copied([*chain(*keys)], device) if prefixes else None,
            max_seqlen_q=max(lengths),
            max_seqlen_k=max(len(indices) for indices in keys),
        )

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        """Causal attention within segments. Shapes (1, heads, seq_len, head_dim), as is the result.

        Values may be narrower than keys: the kernel has one head_dim, so they are padded with 0.
        """
        dtype, value_dim = _dtype(query), value.shape[-1]
        asked: Any = {"enable_gqa": query.shape[1] != key.shape[1]} if ASKS_FOR_GQA else {}
        if value_dim < key.shape[-1]:
            value = functional.pad(value, (0, key.shape[-1] - value_dim))
        queries, keys, values = (
            tensor[0].transpose(0, 1).to(dtype) for tensor in (query, key, value)
        )
        if self.gather is not None:
            keys, values = keys[self.gather], values[self.gather]
        attended: Tensor = varlen_attn(  # type: ignore[assignment]
            queries,
            keys,
            values,
            self.cu_seqlens_q,
            self.cu_seqlens_k,
            self.max_seqlen_q,
            self.max_seqlen_k,
            scale=scale,
            window_size=(-1 if window is None else window - 1, 0),
            **asked,
        )
        return attended[..., :value_dim].transpose(0, 1)[None]


def usable(query: Tensor, value: Tensor, dropout: float, *extras: object) -> bool:
    """Whether the kernel can do it: on CUDA, in half precision, without dropout and `extras`."""
    half = _dtype(query) in (torch.float16, torch.bfloat16)
    head_dim = query.shape[-1]
    fits = value.shape[-1] <= head_dim <= 256 and head_dim % 8 == 0
    plain = not dropout and all(extra is None for extra in extras)
    return AVAILABLE and query.is_cuda and half and fits and plain


def _dtype(query: Tensor) -> torch.dtype:
    device = query.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype


def _tokens(segments: Sequence[Segment], starts: Sequence[int], number: int | None) -> range:
    if number is None:
        return range(0)
    return range(starts[number], starts[number] + segments[number].length)


def offsets(lengths: Sequence[int], device: torch.device) -> Tensor:
    """Where sequences of these lengths begin, and the end. Shape (lengths + 1,)."""
    return copied([0, *accumulate(lengths)], device, torch.int32)
