"""The arithmetic of a training in two conventions, and what a device could do in the same time.

`published`: as others count, every sequence whole, the head at every token, and attention between
all pairs of tokens. `exact`: what is needed, causal attention and the head where an answer is
predicted, a prompt that answers share computed once. Neither counts activations that are computed
twice, nor references.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
import torch

from cpt.training.data.inputs import ModelInputs
from cpt.training.data.sequences import TokenSequence
from cpt.training.forward.architecture import costs_of

PEAKS = {
    **{"GB200": 2.5e15, "B200": 2.25e15, "H100 PCIe": 7.56e14, "H100 NVL": 8.35e14},
    **{"H100": 9.89e14, "H200": 9.89e14, "GH200": 9.89e14, "H800": 9.89e14, "A100": 3.12e14},
    **{"A800": 3.12e14, "L40S": 3.62e14, "L40": 1.81e14, "L4": 1.21e14, "A10": 1.25e14},
    **{"RTX 4090": 1.65e14, "RTX 3090": 7.1e13, "RTX A6000": 1.55e14, "A40": 1.5e14},
}
"""Dense bf16 FLOP/s of a device by a part of its name, from the vendor's data sheets."""


@attrs.frozen(kw_only=True)
class Work:
    """FLOPs of a model, forward."""

    per_token: float
    """Of the body's weights, for one token."""
    head: float
    """Of the head, for one token."""
    per_key: float
    """Of attention, for one query and one key."""
    backward: float = 2.0
    """Of a backward pass that is needed, in forward passes: 1 where weights are frozen."""

    @classmethod
    def of(cls, model: Any, *, frozen: bool = False) -> Work:
        """Of a causal language model."""
        costs = costs_of(model)
        output = model.get_output_embeddings()
        head = 0.0 if output is None else 2.0 * output.weight.numel()
        return cls(
            per_token=costs.per_token,
            head=head,
            per_key=costs.per_key,
            backward=1.0 if frozen else 2.0,
        )

    def published(self, sequences: Iterable[TokenSequence]) -> float:
        """Forward and backward of whole sequences, as others count."""
        forward = 0.0
        for sequence in sequences:
            length = sequence.input_length
            forward += length * (self.per_token + self.head) + length**2 * self.per_key
        return 3.0 * forward

    def exact(self, inputs: ModelInputs) -> float:
        """Forward and backward of what one call of the model needs."""
        forward = inputs.tokens * self.per_token + sum(inputs.lengths) * self.head
        return (1.0 + self.backward) * (forward + _keys(inputs) * self.per_key)


def peak_of(device: torch.device, precision: str) -> float | None:
    """FLOP/s that a device could do in bf16; None where it is not known."""
    if device.type != "cuda" or precision == "fp32":
        return None
    return named_peak(torch.cuda.get_device_name(device))


def named_peak(name: str) -> float | None:
    """That of a device called so, by the longest name that is part of it."""
    known = [part for part in PEAKS if part in name]
    return PEAKS[max(known, key=len)] if known else None


def _keys(inputs: ModelInputs) -> float:
    """Pairs of a query and a key that it sees."""
    if not inputs.segments:
        assert inputs.attention_mask is not None
        lengths = inputs.attention_mask.sum(1).tolist()
        return float(sum(length * (length + 1) / 2 for length in lengths))
    own = sum(segment.length * (segment.length + 1) / 2 for segment in inputs.segments)
    before = sum(
        segment.length * inputs.segments[segment.prefix].length
        for segment in inputs.segments
        if segment.prefix is not None
    )
    return float(own + before)
