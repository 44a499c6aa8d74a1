"""Recurrent layers in packed rows: told where sequences begin, and believed only if they listen.

The kernels that listen run on CUDA only; here transformers' own functions, called for one sequence
after the other, are in their place.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from cpt.training.data.packing import model_inputs
from cpt.training.forward.logps import SequenceLogps

from .families import model_of, plain, rows

Fake = Callable[..., Any]
FAMILIES = ["qwen3_next", "qwen3_5", "lfm2", "granitemoehybrid, mamba"]


def original(function: Any) -> Fake:
    """What transformers calls where no kernel is installed."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    found: Fake = function
    return found


def in_parts(function: Any, names: set[str], dim: int) -> Fake:
    """The function, called for each packed sequence by itself."""

    def fake(*args: Any, seq_idx: Any = None, cu_seqlens: Any = None, **kwargs: Any) -> Any:
        if seq_idx is None and cu_seqlens is None:
            return original(function)(*args, **kwargs)
        lengths = (seq_idx[0].bincount() if cu_seqlens is None else cu_seqlens.diff()).tolist()
        given = dict(zip(original(function).__code__.co_varnames, args, strict=False)) | kwargs
        cut = {name: torch.split(given.pop(name), lengths, dim) for name in names}
        found = [
            original(function)(**given, **dict(zip(cut, parts, strict=True)))
            for parts in zip(*cut.values(), strict=True)
        ]
        if isinstance(found[0], Tensor):
            return torch.cat(found, dim)
        return torch.cat([outputs for outputs, _ in found], 1), None

    return fake


def with_kernels(model: Any, patch: pytest.MonkeyPatch) -> None:
    """Let the layers of a model find kernels that keep sequences apart."""
    modeling: Any = sys.modules[type(model).__module__]
    parts = {
        "causal_conv1d_fn": ({"hidden_states"}, 2),
        "torch_chunk_gated_delta_rule": ({"query", "key", "value", "g", "beta"}, 1),
        "mamba2_chunk_scan": ({"hidden_states", "dt", "B", "C"}, 1),
    }
    for name, (cut, dim) in parts.items():
        if function := getattr(modeling, name, None):
            patch.setattr(modeling, name, in_parts(function, cut, dim))


@pytest.mark.parametrize("family", FAMILIES)
def test_with_kernels_rows_are_packed_and_exact(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copy.deepcopy(model_of(family))
    with_kernels(model, monkeypatch)
    module = SequenceLogps(model)
    assert module.layout.packed and module.layout.bounded and not module.layout.shared
    groups = rows()
    with torch.no_grad():
        for inputs in model_inputs(groups, 999, module.layout):
            found = torch.split(module(inputs), list(inputs.lengths))
            wanted = [
                plain(model_of(family), row) for group in inputs.groups for row in groups[group]
            ]
            for logps, expected in zip(found, wanted, strict=True):
                torch.testing.assert_close(logps, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("family", [*FAMILIES, "nemotron_h", "mamba"])
def test_without_kernels_rows_are_padded(family: str, caplog: pytest.LogCaptureFixture) -> None:
    module = SequenceLogps(copy.deepcopy(model_of(family)))
    assert not module.layout.packed and not module.layout.bounded
    if family != "mamba":
        assert "without `causal_conv1d`" in caplog.text
