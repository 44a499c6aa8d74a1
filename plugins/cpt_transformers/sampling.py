"""Sampling that depends on the request alone, not on the batch that it is in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import blake2b

import attrs
import torch
from torch import Tensor
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from cpt import Message

GOLDEN = -0x61C8864680B583EB
FIRST, SECOND = -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""The constants of splitmix64, as signed integers."""
IN_CACHE = 1 << 17
"""Numbers that a CPU makes at once: fresh memory costs it more than the arithmetic."""


def key(messages: Sequence[Message], sample: int, seed: int) -> int:
    """The key of a request's random numbers: 64 bits, signed."""
    turns = [[message.role, message.content] for message in messages]
    text = json.dumps([seed, sample, turns])
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def sampler(
    keys: Sequence[int], start: int, *, temperature: float, top_k: int, top_p: float
) -> LogitsProcessorList:
    """Processors after which the largest logit is a sample; none at temperature 0.

    `start` is the position at which answers begin; the row of a batch has the key of its request.
    """
    if temperature == 0:
        return LogitsProcessorList()
    steps: list[LogitsProcessor] = [TemperatureLogitsWarper(temperature)]
    if top_k:
        steps.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        steps.append(TopPLogitsWarper(top_p))
    return LogitsProcessorList([*steps, Noise(torch.tensor(keys), start)])


@attrs.define(eq=False)
class Noise(LogitsProcessor):  # type: ignore[misc]
    """Adds Gumbel noise: the largest of the sums is distributed as the softmax of the logits."""

    keys: Tensor
    """Shape (rows,)."""
    start: int

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Shapes (rows, time) and (rows, vocabulary)."""
        self.keys = self.keys.to(scores.device)
        step = input_ids.shape[1] - self.start
        return scores + gumbel(self.keys, step, scores.shape[1])


def gumbel(keys: Tensor, step: int, vocabulary: int) -> Tensor:
    """Standard Gumbel noise, a function of key, step and token. Shape (rows, vocabulary)."""
    tokens = torch.arange(1, vocabulary + 1, device=keys.device) * GOLDEN
    # As a tensor, because the product wraps around.
    offset = torch.tensor(step + 1, device=keys.device) * GOLDEN
    streams = _mixed(_mixed(keys.clone()) + offset)
    at_once = IN_CACHE if keys.device.type == "cpu" else len(keys) * vocabulary
    blocks = torch.split(streams, max(1, at_once // vocabulary))
    return torch.cat([_noise(_mixed(block.unsqueeze(1) + tokens)) for block in blocks])


def _noise(bits: Tensor) -> Tensor:
    """Random bits as Gumbel noise: -log(-log(1 - u)), as floats are finest where u is small."""
    bits >>= 32
    bits &= 0xFFFFFFFF
    uniform = bits.float().add_(0.5).mul_(2.0**-32).clamp_(max=1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_().log_().neg_()


def _mixed(bits: Tensor) -> Tensor:
    """The finalizer of splitmix64 (Steele et al., 2014), in place."""
    bits ^= _shifted(bits, 30)
    bits *= FIRST
    bits ^= _shifted(bits, 27)
    bits *= SECOND
    bits ^= _shifted(bits, 31)
    return bits


def _shifted(bits: Tensor, by: int) -> Tensor:
    """To the right, as if unsigned."""
    return bits >> by & ((1 << 64 - by) - 1)
