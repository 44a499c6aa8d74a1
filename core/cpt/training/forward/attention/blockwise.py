"""Causal attention by plain matrix products, a block of queries at a time.

On a CPU in bf16 these run at the speed of the matrix units, which the backward pass of torch's
fused kernel does not reach; its forward pass does. Weights are computed again in the backward pass,
so that no more is kept than by that kernel.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

BLOCK = 128
"""Queries in a block: fewer skip more of the keys that they may not see."""


def blockwise_attention(
    query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None
) -> Tensor:
    """Causal attention in which the last query sees all keys, or the last `window` of them.

    `query` has shape (1, heads, q_len, head_dim), `key` and `value` (1, kv_heads, kv_len, head_dim)
    with heads a multiple of kv_heads and kv_len at least q_len; values may have their own head_dim.
    Returns the shape of `query` with the head_dim of `value`.
    """
    result: Tensor = _Blockwise.apply(query, key, value, scale, window)  # type: ignore[no-untyped-call]
    return result


class _Blockwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None
    ) -> Tensor:
        attend = _fused if _can_be_fused(query, key, value, window) else _by_blocks
        attended = attend(query, key, value, scale, window)
        ctx.save_for_backward(query, key, value, attended)
        ctx.scale, ctx.window = scale, window
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, attended = ctx.saved_tensors
        query_grad = torch.empty_like(query, memory_format=torch.contiguous_format)
        key_grad, value_grad = (torch.zeros(tensor.shape) for tensor in (key, value))
        mean = (grad * attended).sum(-1, keepdim=True) if grad.dtype == torch.float32 else None
        for block, visible in _blocks(query.shape[2], key.shape[2], ctx.window):
            weights = _weights(query, key, block, visible, ctx.scale, ctx.window)
            output_grad = _folded(grad, block, key)
            value_grad[0, :, visible] += weights.transpose(1, 2) @ output_grad
            if mean is None:
                weights_grad = _product(output_grad, value[0, :, visible], ctx.scale)
                scores_grad = torch._softmax_backward_data(weights_grad, weights, -1, key.dtype)
            else:
                scores_grad = output_grad @ value[0, :, visible].transpose(1, 2)
                scores_grad.sub_(_folded(mean, block, key)).mul_(weights).mul_(ctx.scale)
            query_grad[:, :, block] = (scores_grad @ key[0, :, visible]).view(
                query_grad[:, :, block].shape
            )
            key_grad[0, :, visible] += scores_grad.transpose(1, 2) @ _folded(query, block, key)
        return query_grad, key_grad.to(key.dtype), value_grad.to(value.dtype), None, None


def _can_be_fused(query: Tensor, key: Tensor, value: Tensor, window: int | None) -> bool:
    """Whether torch's kernel is the faster one: in bf16, without a window that it would ignore."""
    visible = window is None or key.shape[2] <= window
    return query.dtype == torch.bfloat16 and visible and key.shape[3] == value.shape[3]


def _fused(query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
    mask = causal_mask(query, key, window)
    return functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def _by_blocks(
    query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None
) -> Tensor:
    attended = query.new_empty(*query.shape[:3], value.shape[3])
    for block, visible in _blocks(query.shape[2], key.shape[2], window):
        weights = _weights(query, key, block, visible, scale, window)
        products = weights @ value[0, :, visible]
        attended[:, :, block] = products.view(attended[:, :, block].shape)
    return attended


def causal_mask(query: Tensor, key: Tensor, window: int | None) -> Tensor | None:
    """The keys that each query may see; None where they are its own past."""
    q_len, kv_len = query.shape[2], key.shape[2]
    if q_len == kv_len and (window is None or kv_len <= window):
        return None
    q_idx = torch.arange(kv_len - q_len, kv_len, device=query.device)[:, None]
    kv_idx = torch.arange(kv_len, device=query.device)
    mask = kv_idx <= q_idx
    return mask if window is None else mask & (kv_idx > q_idx - window)


def _blocks(q_len: int, kv_len: int, window: int | None) -> Iterator[tuple[slice, slice]]:
    """Each block of queries, and the keys that any of them may see."""
    before = kv_len - q_len
    for start in range(0, q_len, BLOCK):
        stop = min(start + BLOCK, q_len)
        first = 0 if window is None else max(0, before + start + 1 - window)
        yield slice(start, stop), slice(first, before + stop)


def _weights(
    query: Tensor, key: Tensor, block: slice, visible: slice, scale: float, window: int | None
) -> Tensor:
    """Attention weights of a block. Shape (kv_heads, heads / kv_heads * block, visible keys)."""
    scores = _product(_folded(query, block, key), key[0, :, visible], scale)
    by_query = scores.view(key.shape[1], -1, block.stop - block.start, scores.shape[-1])
    # Only the latest keys can be in a query's future; a window can hide any of them.
    first = visible.start if window is not None else visible.stop - by_query.shape[2]
    kv_idx = torch.arange(first, visible.stop)
    q_idx = torch.arange(visible.stop - by_query.shape[2], visible.stop)[:, None]
    hidden = kv_idx > q_idx
    if window is not None:
        hidden |= kv_idx <= q_idx - window
    by_query[..., first - visible.start :].masked_fill_(hidden, float("-inf"))
    torch.softmax(by_query, -1, out=by_query)
    return scores


def _product(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """scale * left @ right^T by batch, rounded once."""
    if left.dtype == torch.float32:
        return (left @ right.transpose(1, 2)).mul_(scale)
    unused = left.new_empty(())
    return torch.baddbmm(unused, left, right.transpose(1, 2), beta=0, alpha=scale)


def _folded(tensor: Tensor, block: slice, key: Tensor) -> Tensor:
    """A block of heads that share keys, stacked.

    Shape (kv_heads, heads / kv_heads * block, head_dim).
    """
    return tensor[:, :, block].reshape(key.shape[1], -1, tensor.shape[-1])
