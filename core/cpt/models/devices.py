"""The device that models are computed on, and what fits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

CONTEXT = ("max_position_embeddings", "max_target_positions", "max_seq_len", "n_positions")
"""What configurations call the number of positions."""
POSITIONS = re.compile(r"(?:^|\.)(?:wpe|(?:embed_)?positions?(?:_embed\w*)?|pos_emb\w*)$")
"""The names of tables with a row for each position."""
SMALL = 500_000
"""Parameters below which threads wait for each other longer than they compute."""


def device_of(name: str) -> str:
    """The device that `auto` means here: the first accelerator, or else the CPU."""
    import torch

    if name != "auto":
        return name
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator.type if accelerator else "cpu"


def batches(lengths: Sequence[int], tokens: int, extra: int = 0) -> Iterator[list[int]]:
    """Split indices into batches of similar length, the longest first.

    A batch, padded to its longest row and with `extra` tokens for each row, takes at most
    `tokens`; a row that is too long for that is alone.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    start = 0
    while start < len(order):
        size = max(1, tokens // (lengths[order[start]] + extra))
        yield order[start : start + size]
        start += size


def context_of(model: Any) -> int | None:
    """The most tokens that a loaded model has positions for, None where there is no limit."""
    import torch

    config = model.config.get_text_config()
    limits = [getattr(config, name, None) for name in CONTEXT]
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Embedding) and POSITIONS.search(name):
            # The first rows are no positions: RoBERTa counts from its padding on, OPT from 2.
            padding = -1 if module.padding_idx is None else module.padding_idx
            limits.append(module.num_embeddings - max(padding + 1, getattr(module, "offset", 0)))
    return min((limit for limit in limits if isinstance(limit, int) and limit > 0), default=None)


@contextmanager
def suited_threads(parameters: int) -> Iterator[None]:
    """Compute with one thread inside the block, if the model has few parameters."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if parameters < SMALL else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
