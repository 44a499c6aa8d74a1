"""All spans of a packed line in one call of flash attention, on an accelerator."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from itertools import accumulate, chain

import attrs
import torch
from torch import Tensor

from cpt.training.data.packing import Span

try:
    from torch.nn.attention.varlen import varlen_attn

    AVAILABLE = "enable_gqa" in signature(varlen_attn).parameters
except ImportError:  # torch before 2.10
    AVAILABLE = False


@attrs.frozen(eq=False)
class Varlen:
    """Where each span's queries and keys are, as the kernel wants it."""

    queries: Tensor
    """Where spans begin among the queries, and the end. Shape (spans + 1,)."""
    keys: Tensor
    """The same among the keys: those of the prefix, then a span's own. Shape (spans + 1,)."""
    gather: Tensor | None
    """Which token each key is, if there are prefixes. Shape (keys,)."""
    most_queries: int
    most_keys: int

    @classmethod
    def of(cls, spans: Sequence[Span], device: torch.device) -> Varlen:
        """Empty spans are left out."""
        starts = list(accumulate((span.length for span in spans), initial=0))
        seen = [
            [*_tokens(spans, starts, span.prefix), *range(start, start + span.length)]
            for start, span in zip(starts, spans, strict=False)
            if span.length
        ]
        lengths = [span.length for span in spans if span.length]
        prefixes = any(span.prefix is not None for span in spans)
        return cls(
            queries=_offsets(lengths, device),
            keys=_offsets([len(each) for each in seen], device),
            gather=torch.tensor([*chain(*seen)], device=device) if prefixes else None,
            most_queries=max(lengths),
            most_keys=max(len(each) for each in seen),
        )

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, scale: float | None, window: int | None
    ) -> Tensor:
        """Causal attention within spans. Shapes (1, heads, time, width), also of the result."""
        dtype = _dtype(query)
        queries, keys, values = (each[0].transpose(0, 1).to(dtype) for each in (query, key, value))
        if self.gather is not None:
            keys, values = keys[self.gather], values[self.gather]
        attended: Tensor = varlen_attn(  # type: ignore[assignment]
            queries,
            keys,
            values,
            self.queries,
            self.keys,
            self.most_queries,
            self.most_keys,
            scale=scale,
            window_size=(-1 if window is None else window - 1, 0),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        return attended.transpose(0, 1)[None]


def usable(query: Tensor, dropout: float, softcap: float | None) -> bool:
    """Whether the kernel can do it: on CUDA, in half precision, without extras."""
    half = _dtype(query) in (torch.float16, torch.bfloat16)
    width = query.shape[-1]
    fits = width <= 256 and width % 8 == 0
    return AVAILABLE and query.is_cuda and half and fits and not dropout and softcap is None


def _dtype(query: Tensor) -> torch.dtype:
    device = query.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype


def _tokens(spans: Sequence[Span], starts: Sequence[int], number: int | None) -> range:
    if number is None:
        return range(0)
    return range(starts[number], starts[number] + spans[number].length)


def _offsets(lengths: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
