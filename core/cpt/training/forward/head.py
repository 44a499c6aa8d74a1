"""Log-probabilities of given tokens from hidden states, without holding all the logits.

For logits z = W h, the gradient of log p(y) = z_y - logsumexp(z) is W_y - p W in h, and
(onehot(y) - p) h in W. The first waits for the loss only as for a factor, so it is found on the
way forward. The second needs the probabilities p once more: they are kept as far as `KEEP` allows
and computed again beyond.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

CHUNK = {"cpu": 2**27, "cuda": 2**30}
"""Bytes of fp32 logits that exist at once, by device."""
KEEP = 2**30
"""Bytes of probabilities that one call may keep for its backward pass."""


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


def chunks(tokens: int, vocabulary: int, device: torch.device) -> list[slice]:
    """Cut tokens into chunks of nearly one size, whose fp32 logits fit into `CHUNK`."""
    # Of one size: a short last chunk would take another matrix kernel, whose last bit differs.
    most = max(1, CHUNK.get(device.type, CHUNK["cuda"]) // (4 * vocabulary))
    count = -(-tokens // most)
    edges = [tokens * number // count for number in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def _through_any_head(hidden: Tensor, targets: Tensor, head: Head) -> Tensor:
    """The same by automatic differentiation, each chunk computed again on the way back."""

    def logps(hidden: Tensor, targets: Tensor) -> Tensor:
        return head.logits(hidden).log_softmax(1).gather(1, targets[:, None])[:, 0]

    vocabulary = head.output(hidden[:1].detach()).shape[1]
    return torch.cat(
        [
            checkpoint(logps, hidden[part], targets[part], use_reentrant=False)
            for part in chunks(len(hidden), vocabulary, hidden.device)
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
        kept = call.room() if any(needs_head) else None
        logps = torch.empty(len(hidden), device=hidden.device)
        pull = torch.empty_like(logps)
        slope = torch.empty(hidden.shape, device=hidden.device) if needs_hidden else None
        for part in call.chunks:
            if gradient:
                logps[part], pull[part], push = call.derive(part, kept)
                if slope is not None:
                    slope[part] = call.slope(part, pull[part], push)
            else:
                logps[part] = call.log_softmax_(part, call.logits(part, None))
        ctx.save_for_backward(hidden, weight, bias, targets, slope, pull, kept)
        ctx.head, ctx.needs_head = head, needs_head
        return logps

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, bias, targets, slope, pull, kept = ctx.saved_tensors
        to_hidden = None if slope is None else (slope * grad[:, None]).to(hidden.dtype)
        to_weight = to_bias = None
        if kept is not None:
            call = _Call.of(hidden, weight, bias, targets, ctx.head, kept.dtype)
            to_weight, to_bias = call.to_head(grad, pull, kept)
        return to_hidden, to_weight, to_bias, None, None, None


@attrs.frozen(eq=False, slots=False)
class _Call:
    """What one call works on, in the precision that its matrices are multiplied in."""

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

    def room(self) -> Tensor:
        """Room for the probabilities of the first tokens, as many whole chunks as `KEEP` allows."""
        most = KEEP // (len(self.weight) * self.weight.element_size())
        tokens = max((part.stop for part in self.chunks if part.stop <= most), default=0)
        return self.weight.new_empty(tokens, len(self.weight))

    def logits(self, part: slice, kept: Tensor | None) -> Tensor:
        """Logits of a chunk in fp32, in their own place in `kept` if they have one there."""
        matrix = self.weight.t()
        if kept is not None and kept.dtype == torch.float32 and part.stop <= len(kept):
            logits = torch.mm(self.hidden[part], matrix, out=kept[part])
        else:
            logits = (self.hidden[part] @ matrix).float()
        if self.bias is not None:
            logits.add_(self.bias)
        if self.head.scale != 1.0:
            logits.mul_(self.head.scale)
        if self.head.softcap:
            logits.div_(self.head.softcap).tanh_().mul_(self.head.softcap)
        return logits

    def log_softmax_(self, part: slice, logits: Tensor) -> Tensor:
        """Turn logits into log-probabilities in place, and pick those of the targets."""
        # In place, as fresh memory of this size costs more than the arithmetic.
        torch.log_softmax(logits, 1, out=logits)
        return logits.gather(1, self.targets[part, None])[:, 0]

    def derive(self, part: slice, kept: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities of a chunk's targets and what they depend on, `scale` aside.

        The derivative of log p(y) in the linear layer's outputs is `pull` at y less `push`
        everywhere: 1 and the probabilities, unless the logits are capped. Shapes (tokens,),
        (tokens,), (tokens, vocabulary).
        """
        logits = self.logits(part, kept)
        bend = 1 - (logits / self.head.softcap).square() if self.head.softcap else None
        logps = self.log_softmax_(part, logits)
        push = logits.exp_()
        pull = torch.ones_like(logps)
        if bend is not None:
            push.mul_(bend)
            pull = bend.gather(1, self.targets[part, None])[:, 0]
        if kept is not None and part.stop <= len(kept):
            # Without effect where the logits were computed there already.
            push = kept[part].copy_(push)
        return logps, pull, push.to(self.weight.dtype)

    def slope(self, part: slice, pull: Tensor, push: Tensor) -> Tensor:
        """The derivative of each log p(y) in its hidden state. Shape (tokens, width)."""
        towards = self.weight[self.targets[part]] * pull[:, None]
        return (towards - push @ self.weight) * self.head.scale

    def to_head(self, grad: Tensor, pull: Tensor, kept: Tensor) -> tuple[Tensor, Tensor | None]:
        """Gradients of the weight and the bias, given that of each token's log-probability."""
        grad = grad * self.head.scale
        hidden = self.hidden * grad[:, None]
        weight = torch.zeros(self.weight.shape, device=grad.device)
        bias = None if self.bias is None else torch.zeros_like(self.bias)
        beyond = [part for part in self.chunks if part.stop > len(kept)]
        for part in [slice(0, len(kept)), *beyond]:
            push = kept if part.stop <= len(kept) else self.derive(part, None)[2]
            _subtract_product(weight, push.t(), hidden[part])
            if bias is not None:
                bias.sub_(grad[part].to(push.dtype) @ push)
        # The targets' own part stays in fp32: it is the larger one, and exact.
        weight.index_add_(0, self.targets, hidden * pull[:, None])
        if bias is not None:
            bias.index_add_(0, self.targets, grad * pull)
        return weight, bias


def _subtract_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """total -= left @ right, multiplied in the precision of `left`."""
    if left.dtype == total.dtype:
        total.addmm_(left, right, alpha=-1)
    else:
        total.sub_(left @ right.to(left.dtype))
