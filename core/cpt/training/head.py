"""Log-probabilities of given tokens from hidden states, without ever holding all the logits."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 256
"""Tokens whose logits exist at once."""


@attrs.frozen(eq=False, kw_only=True)
class Head:
    """A linear map onto the vocabulary and what a model does to its logits."""

    weight: Tensor
    """Shape (vocabulary, width)."""
    bias: Tensor | None = None
    """Shape (vocabulary,)."""
    scale: float = 1.0
    """What logits are multiplied by."""
    softcap: float | None = None
    """Logits are squashed into (-softcap, softcap), after scaling."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits in fp32. Shape (tokens, width) to (tokens, vocabulary)."""
        logits = torch.nn.functional.linear(hidden, self.weight, self.bias).float() * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


def token_logps(hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
    """log p(target) at each position, in fp32.

    `hidden` has shape (tokens, width), `targets` (tokens,), the result (tokens,).
    """
    result: Tensor = _TokenLogps.apply(  # type: ignore[no-untyped-call]
        hidden, head.weight, head.bias, targets, head
    )
    return result


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor, head: Head
    ) -> Tensor:
        logps = hidden.new_empty(len(hidden), dtype=torch.float32)
        for part in _parts(len(hidden)):
            logits = head.logits(hidden[part])
            picked = logits.gather(1, targets[part, None])[:, 0]
            logps[part] = picked - logits.logsumexp(1)
        ctx.save_for_backward(hidden, weight, bias, targets)
        ctx.head = head
        return logps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets = ctx.saved_tensors
        leaves = [hidden.detach(), weight.detach(), None if bias is None else bias.detach()]
        wanted = [
            leaf.requires_grad_(needed)
            for leaf, needed in zip(leaves, ctx.needs_input_grad, strict=False)
            if leaf is not None
        ]
        del wanted
        with torch.enable_grad():
            head = attrs.evolve(ctx.head, weight=leaves[1], bias=leaves[2])
            for part in _parts(len(hidden)):
                logits = head.logits(leaves[0][part])
                picked = logits.gather(1, targets[part, None])[:, 0]
                (picked - logits.logsumexp(1)).backward(grad[part])
        return *(None if leaf is None else leaf.grad for leaf in leaves), None, None


def _parts(tokens: int) -> list[slice]:
    return [slice(start, min(start + CHUNK, tokens)) for start in range(0, tokens, CHUNK)]
