"""What the accelerator's kernel is given describes the segments, and it is called for nothing else.

The kernel itself runs on CUDA only; here its definition, in a few lines, is in its place.
"""

from __future__ import annotations

from inspect import signature

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from cpt.training.data.inputs import Segment
from cpt.training.forward.attention import varlen
from cpt.training.forward.attention.packed import PackedSequence, packed_attention

POSITIONAL = ["query", "key", "value", "cu_seq_q", "cu_seq_k", "max_q", "max_k"]


def defined(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seq_q: Tensor,
    cu_seq_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    scale: float | None,
    window_size: tuple[int, int],
    enable_gqa: bool | None = None,
) -> Tensor:
    """Variable-length attention, causal where queries and keys both end."""
    assert query.shape[-1] == key.shape[-1] == value.shape[-1]
    assert cu_seq_q.dtype == cu_seq_k.dtype == torch.int32
    assert max_q == int(cu_seq_q.diff().max())
    assert max_k == int(cu_seq_k.diff().max())
    assert window_size[1] == 0
    attended = []
    for number in range(len(cu_seq_q) - 1):
        q = query[cu_seq_q[number] : cu_seq_q[number + 1]].transpose(0, 1)
        k, v = (
            tensor[cu_seq_k[number] : cu_seq_k[number + 1]].transpose(0, 1)
            for tensor in (key, value)
        )
        there = torch.arange(k.shape[1])
        here = torch.arange(k.shape[1] - q.shape[1], k.shape[1])[:, None]
        seen = there <= here
        if window_size[0] >= 0:
            seen &= there >= here - window_size[0]
        done = functional.scaled_dot_product_attention(
            q[None], k[None], v[None], attn_mask=seen, scale=scale, enable_gqa=True
        )
        attended.append(done[0].transpose(0, 1))
    return torch.cat(attended)


@st.composite
def packed(draw: st.DrawFn) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    for _ in range(draw(st.integers(1, 3))):
        prompt = len(segments)
        segments.append(Segment(draw(st.integers(1, 9))))
        segments += [
            Segment(draw(st.integers(0, 9)), prompt) for _ in range(draw(st.integers(0, 3)))
        ]
    return tuple(segments)


@settings(max_examples=40, deadline=None)
@given(
    segments=packed(),
    window=st.none() | st.integers(1, 12),
    value_width=st.sampled_from([8, 6]),
    asks=st.booleans(),
)
def test_it_is_given_the_same_as_the_other_kernels(
    segments: tuple[Segment, ...], window: int | None, value_width: int, asks: bool
) -> None:
    time = sum(segment.length for segment in segments)
    query, key = (torch.randn(1, heads, time, 8) for heads in (4, 2))
    value = torch.randn(1, 2, time, value_width)
    arguments = (nn.Module(), query, key, value, None)
    wanted, _ = packed_attention(
        *arguments, sliding_window=window, cpt_packed=PackedSequence(segments, None)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(varlen, "varlen_attn", defined, raising=False)  # torch before 2.10
        patch.setattr(varlen, "usable", lambda *_: True)
        patch.setattr(varlen, "ASKS_FOR_GQA", asks)
        found, _ = packed_attention(
            *arguments,
            sliding_window=window,
            cpt_packed=PackedSequence(segments, varlen.Varlen.of(segments, query.device)),
        )
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_kernel_that_is_called_has_these_arguments() -> None:
    kernel = pytest.importorskip("torch.nn.attention.varlen", reason="torch before 2.10")
    names = signature(kernel.varlen_attn).parameters
    assert varlen.AVAILABLE is ({"scale", "window_size"} <= names.keys())
    assert varlen.ASKS_FOR_GQA is ("enable_gqa" in names)
    if varlen.AVAILABLE:
        assert list(names)[: len(POSITIONAL)] == POSITIONAL


@pytest.mark.parametrize(
    ("dropout", "softcap", "dtype", "usable"),
    [
        (0.0, None, torch.bfloat16, True),
        (0.0, None, torch.float32, False),
        (0.1, None, torch.bfloat16, False),
        (0.0, 30.0, torch.bfloat16, False),
    ],
)
def test_when_it_is_used(
    monkeypatch: pytest.MonkeyPatch,
    dropout: float,
    softcap: float | None,
    dtype: torch.dtype,
    usable: bool,
) -> None:
    class OnCuda(torch.Tensor):
        is_cuda = True

    monkeypatch.setattr(varlen, "AVAILABLE", True)
    query = torch.zeros(1, 1, 1, 8, dtype=dtype).as_subclass(OnCuda)
    assert varlen.usable(query, query, dropout, softcap) is usable
    assert not varlen.usable(query.as_subclass(torch.Tensor), query, dropout, softcap)
    monkeypatch.setattr(varlen, "AVAILABLE", False)
    assert not varlen.usable(query, query, dropout, softcap)


def test_where_the_kernel_cannot_be_used_keys_are_repeated_for_all_heads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On an accelerator, where only the slowest kernels take fewer heads of keys."""
    asked = []

    def attend(query: Tensor, key: Tensor, value: Tensor, **options: object) -> Tensor:
        asked.append((key.shape[1], value.shape[1], options["enable_gqa"]))
        return query

    monkeypatch.setattr(functional, "scaled_dot_product_attention", attend)
    query, key = (torch.empty(1, heads, 5, 8, device="meta") for heads in (4, 2))
    sequence = PackedSequence((Segment(2), Segment(3)), None)
    packed_attention(nn.Module(), query, key, key, None, cpt_packed=sequence)
    assert asked == [(4, 4, False)] * 2
