"""Attention by matrix products is attention, for any lengths, windows and groups of heads."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from cpt.training.forward.attention.blockwise import BLOCK, blockwise_attention


@settings(max_examples=25, deadline=None)
@given(
    queries=st.integers(1, 2 * BLOCK + 20),
    before=st.integers(0, 60),
    window=st.none() | st.integers(1, 2 * BLOCK),
    groups=st.sampled_from([1, 2, 4]),
    width=st.sampled_from([8, 6, 12]),
)
def test_it_is_causal_attention(
    queries: int, before: int, window: int | None, groups: int, width: int
) -> None:
    torch.manual_seed(queries)
    keys = before + queries
    shapes = [(1, 4, queries, 8), (1, groups, keys, 8), (1, groups, keys, width)]
    query, key, value = (torch.randn(shape, requires_grad=True) for shape in shapes)
    here = torch.arange(before, before + queries)[:, None]
    there = torch.arange(before + queries)
    seen = (there <= here) & (there > here - (window or before + queries))
    wanted = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=seen, scale=0.3, enable_gqa=True
    )
    found = blockwise_attention(query, key, value, 0.3, window)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    grad = torch.randn(wanted.shape)
    for mine, right in zip(
        torch.autograd.grad(found, (query, key, value), grad),
        torch.autograd.grad(wanted, (query, key, value), grad),
        strict=True,
    ):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("before", [0, 37])
@pytest.mark.parametrize("window", [None, 100])
@pytest.mark.parametrize("width", [16, 48])
def test_in_bf16_it_is_as_near_as_rounding_lets_it(
    before: int, window: int | None, width: int
) -> None:
    """Against plain attention in fp32 on the same values; a head size that is no power of two."""
    torch.manual_seed(0)
    queries, scale = BLOCK + 30, 48**-0.5
    keys = before + queries
    shapes = [(1, 4, queries, 48), (1, 2, keys, 48), (1, 2, keys, width)]
    values = [torch.randn(shape).bfloat16().requires_grad_() for shape in shapes]
    exact = [value.detach().float().requires_grad_() for value in values]
    (query, key, value), (exact_query, exact_key, exact_value) = values, exact
    here, there = torch.arange(before, keys)[:, None], torch.arange(keys)
    seen = (there <= here) & (there > here - (window or keys))
    wanted = functional.scaled_dot_product_attention(
        exact_query, exact_key, exact_value, attn_mask=seen, scale=scale, enable_gqa=True
    )
    found = blockwise_attention(query, key, value, scale, window)
    grad = torch.randn(wanted.shape).bfloat16()
    mine = torch.autograd.grad(found, values, grad)
    right = torch.autograd.grad(wanted, exact, grad.float())
    for got, should in zip([found, *mine], [wanted, *right], strict=True):
        assert (got.float() - should).norm() < 0.006 * should.norm()
