"""Log-probabilities of given tokens from hidden states, without holding all the logits.

For logits z = W h, the gradient of log p(y) = z_y - logsumexp(z) is W_y - p W in h, and
(onehot(y) - p) h in W. The loss only scales the first, so it is computed in the forward pass. The
second needs the probabilities p again: as many as `KEEP` allows are kept, and the others are
computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

CHUNK = {"cpu": 2**27, "cuda": 2**30}
"""Bytes of fp32 logits that exist at once, by device."""
BLOCK = {"cpu": 2**22}
"""Bytes of fp32 logits that are looked at again and again, by device: about what a cache holds."""
KEEP = {"cpu": 2**30, "cuda": 2**31}
"""Bytes of probabilities that one call may keep for its backward pass, by device."""


@attrs.frozen(eq=False, kw_only=True)
class Head:
    """A map onto the vocabulary, and what a model does to the logits that come out."""

    output: nn.Module
    """Maps (tokens, width) to (tokens, vocabulary): a linear layer, or one with adapters."""
    scale: float = 1.0
    """What logits are multiplied by (Cohere, Granite)."""
    softcap: float | None = None
    """Logits are squashed into (-softcap, softcap), after scaling (Gemma)."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits in fp32. Shape (tokens, width) to (tokens, vocabulary)."""
        logits: Tensor = self.output(hidden).float() * self.scale
        return logits if not self.softcap else self.softcap * (logits / self.softcap).tanh()


def token_logps(hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
    """log p(target) at each position, in fp32.

    `hidden` has shape (tokens, width), `targets` (tokens,), the result (tokens,).
    """
    linear = head.output
    if type(linear) is not nn.Linear:
        return _through_any_head(hidden, targets, head)
    result: Tensor = _TokenLogps.apply(  # type: ignore[no-untyped-call]
        hidden, linear.weight, linear.bias, targets, head, torch.is_grad_enabled()
    )
    return result


def at_most(limits: Mapping[str, int], device: str) -> int:
    """The bytes that are allowed on a type of device; unknown ones are as large as CUDA's."""
    return limits.get(device, limits["cuda"])


def chunks(tokens: int, vocabulary: int, device: torch.device) -> list[slice]:
    """Cut tokens into chunks of nearly one size, whose fp32 logits fit into `CHUNK`."""
    # Of one size: a short last chunk would use another matrix kernel, whose last bit differs.
    largest = max(1, at_most(CHUNK, device.type) // (4 * vocabulary))
    count = -(-tokens // largest)
    edges = [tokens * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _through_any_head(hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
    """The same by automatic differentiation, each chunk computed again in the backward pass."""

    def logps(hidden: Tensor, targets: Tensor) -> Tensor:
        return head.logits(hidden).log_softmax(1).gather(1, targets[:, None])[:, 0]

    vocabulary = head.output(hidden[:1].detach()).shape[1]
    return torch.cat(
        [
            checkpoint(logps, hidden[chunk], targets[chunk], use_reentrant=False)
            for chunk in chunks(len(hidden), vocabulary, hidden.device)
        ]
    )


class _TokenLogps(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        head: Head,
        gradient: bool,
    ) -> Tensor:
        needs_hidden, *needs_head = (gradient and need for need in ctx.needs_input_grad[:3])
        call = _Call.of(hidden, weight, bias, targets, head)
        buffer = call.buffer() if any(needs_head) else None
        logps = torch.empty(len(hidden), device=hidden.device)
        target_grad = torch.empty_like(logps)
        hidden_grad = torch.empty(hidden.shape, device=hidden.device) if needs_hidden else None
        for chunk in call.chunks:
            if gradient:
                logps[chunk], target_grad[chunk], probs = call.derive(chunk, buffer)
                if hidden_grad is not None:
                    hidden_grad[chunk] = call.hidden_grad(chunk, target_grad[chunk], probs)
            else:
                logps[chunk] = call.logps(chunk)
        ctx.save_for_backward(hidden, weight, bias, targets, hidden_grad, target_grad, buffer)
        ctx.head, ctx.needs_head = head, needs_head
        return logps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, hidden_grad, target_grad, buffer = ctx.saved_tensors
        for_hidden = None if hidden_grad is None else (hidden_grad * grad[:, None]).to(hidden.dtype)
        for_weight = for_bias = None
        if buffer is not None:
            call = _Call.of(hidden, weight, bias, targets, ctx.head, buffer.dtype)
            for_weight, for_bias = call.head_grad(grad, target_grad, buffer)
        return for_hidden, for_weight, for_bias, None, None, None


@attrs.frozen(eq=False, slots=False)
class _Call:
    """The inputs of one call, in the precision that its matrices are multiplied in."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor
    head: Head

    @classmethod
    def of(
        cls,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        head: Head,
        dtype: torch.dtype | None = None,
    ) -> _Call:
        device = hidden.device.type
        if dtype is None:
            autocast = torch.is_autocast_enabled(device)
            dtype = torch.get_autocast_dtype(device) if autocast else weight.dtype
        return cls(hidden.to(dtype), weight.to(dtype), bias, targets, head)

    @property
    def chunks(self) -> list[slice]:
        return chunks(len(self.hidden), len(self.weight), self.hidden.device)

    def buffer(self) -> Tensor:
        """Memory for probabilities of the first tokens: as many whole chunks as `KEEP` allows."""
        limit = at_most(KEEP, self.weight.device.type) // (
            len(self.weight) * self.weight.element_size()
        )
        tokens = max((chunk.stop for chunk in self.chunks if chunk.stop <= limit), default=0)
        return self.weight.new_empty(tokens, len(self.weight))

    def products(self, chunk: slice, buffer: Tensor | None) -> Tensor:
        """Hidden states times weights, in `buffer` if the chunk is within it."""
        matrix = self.weight.t()
        if buffer is not None and chunk.stop <= len(buffer):
            return torch.mm(self.hidden[chunk], matrix, out=buffer[chunk])
        return self.hidden[chunk] @ matrix

    def blocks(self, products: Tensor) -> Iterator[slice]:
        """Rows whose logits stay in a CPU's cache from one pass over them to the next."""
        limit = BLOCK.get(products.device.type)
        rows = len(products) if limit is None else max(1, limit // (4 * products.shape[1]))
        return (slice(start, start + rows) for start in range(0, len(products), rows))

    def logits(self, products: Tensor) -> Tensor:
        """Logits in fp32: the products themselves, changed in place, where these are in fp32."""
        logits = products.float()
        if self.bias is not None:
            logits.add_(self.bias)
        if self.head.scale != 1.0:
            logits.mul_(self.head.scale)
        if self.head.softcap:
            logits.div_(self.head.softcap).tanh_().mul_(self.head.softcap)
        return logits

    def logps(self, chunk: slice) -> Tensor:
        """Log-probabilities of a chunk's targets. Shape (tokens,)."""
        products, targets = self.products(chunk, None), self.targets[chunk]
        parts = [
            _log_softmax_(self.logits(products[rows]), targets[rows])
            for rows in self.blocks(products)
        ]
        return torch.cat(parts)

    def derive(self, chunk: slice, buffer: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of a chunk's targets, and their derivative apart from `scale`.

        The derivative of log p(y) in the linear layer's outputs is `target_grad` at y less `probs`
        everywhere: 1 and the probabilities, unless the logits are capped. Shapes (tokens,),
        (tokens,), (tokens, vocabulary).
        """
        products, targets = self.products(chunk, buffer), self.targets[chunk]
        logps = torch.empty(len(products), device=products.device)
        target_grad = torch.ones_like(logps)
        for rows in self.blocks(products):
            logits = self.logits(products[rows])
            softcap_grad = 1 - (logits / self.head.softcap).square() if self.head.softcap else None
            logps[rows] = _log_softmax_(logits, targets[rows])
            probs = logits.exp_()
            if softcap_grad is not None:
                probs.mul_(softcap_grad)
                target_grad[rows] = softcap_grad.gather(1, targets[rows, None])[:, 0]
            # Without effect in fp32, where they are the same memory.
            products[rows].copy_(probs)
        return logps, target_grad, products

    def hidden_grad(self, chunk: slice, target_grad: Tensor, probs: Tensor) -> Tensor:
        """The derivative of each log p(y) in its hidden state. Shape (tokens, width)."""
        target = self.weight[self.targets[chunk]] * target_grad[:, None]
        return (target - probs @ self.weight) * self.head.scale

    def head_grad(
        self, grad: Tensor, target_grad: Tensor, buffer: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Gradients of the weight and the bias, given that of each token's log-probability."""
        grad = grad * self.head.scale
        hidden = self.hidden * grad[:, None]
        weight = torch.zeros(self.weight.shape, device=grad.device)
        bias = None if self.bias is None else torch.zeros_like(self.bias)
        beyond = [chunk for chunk in self.chunks if chunk.stop > len(buffer)]
        for chunk in [slice(0, len(buffer)), *beyond]:
            probs = buffer if chunk.stop <= len(buffer) else self.derive(chunk, None)[2]
            _subtract_product(weight, probs.t(), hidden[chunk])
            if bias is not None:
                bias.sub_(grad[chunk].to(probs.dtype) @ probs)
        # The targets' own part stays in fp32: it is the larger one, and exact.
        weight.index_add_(0, self.targets, hidden * target_grad[:, None])
        if bias is not None:
            bias.index_add_(0, self.targets, grad * target_grad)
        return weight, bias


def _log_softmax_(logits: Tensor, targets: Tensor) -> Tensor:
    """Turn logits into log-probabilities in place, and pick those of the targets."""
    # In place, as fresh memory of this size costs more than the arithmetic.
    torch.log_softmax(logits, 1, out=logits)
    return logits.gather(1, targets[:, None])[:, 0]


def _subtract_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total -= left @ right, multiplied in the precision of `left`."""
    if left.dtype == total.dtype:
        total.addmm_(left, right, alpha=-1)
    else:
        total.sub_(left @ right.to(left.dtype))
