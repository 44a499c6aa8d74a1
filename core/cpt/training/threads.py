"""As many threads as a model has work for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

SMALL = 500_000
"""Weights below which threads wait for each other longer than they compute."""


@contextmanager
def suited_threads(weights: int) -> Iterator[None]:
    """Compute with one thread inside the block, if the model has few weights."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if weights < SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def weights_in(folder: Path) -> int:
    """About how many weights a model's folder holds."""
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) // 4
