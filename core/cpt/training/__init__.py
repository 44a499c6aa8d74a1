"""Order, log-probabilities, loss, step, checkpoint: from pairs to a trained model."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "train":  # imported late: help must not load torch
        from cpt.training.loop import train

        return train
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
