"""How a mixture of experts routes its tokens: who gets how many, and what evens it out."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from cpt.training.data.inputs import ModelInputs

RouterLogits = tuple[Tensor, ...]
"""What the router of each layer makes of each token. Each of shape (tokens, experts)."""


@attrs.frozen(eq=False)
class Routing:
    """How the tokens of a micro-batch were routed."""

    aux_loss: Tensor
    """Load-balancing loss, with its gradient: the number of experts times the sum over them of the
    tokens' share that picks an expert times its mean probability, both over all layers. A scalar,
    `top_k` where all is even (Switch Transformer, arXiv 2101.03961, equations 4 to 6)."""
    load_max: Tensor
    """Largest share of tokens that one expert gets, the mean over layers. A scalar."""

    @classmethod
    def of(cls, calls: Sequence[RouterLogits], top_k: int) -> Routing:
        """What the calls of a micro-batch recorded, where each token picks `top_k` experts."""
        from transformers.models.mixtral.modeling_mixtral import load_balancing_loss_func

        layers = tuple(torch.cat(layer).float() for layer in zip(*calls, strict=True))
        loss = load_balancing_loss_func(layers, layers[0].shape[1], top_k)
        loads = torch.stack([_load_max(logits.detach(), top_k) for logits in layers])
        return cls(loss, loads.mean())


def real_tokens(logits: RouterLogits, inputs: ModelInputs) -> RouterLogits:
    """Without padding, and without what was computed once and laid out in several places."""
    if inputs.attention_mask is None:
        return logits
    kept = inputs.kept
    if kept is None:
        kept = inputs.attention_mask.flatten().nonzero()[:, 0]
    # Parts that compute only what is kept have routed no more than that.
    return tuple(layer if len(layer) == len(kept) else layer[kept] for layer in logits)


def _load_max(logits: Tensor, top_k: int) -> Tensor:
    picked = logits.topk(top_k, dim=1).indices.flatten()
    counts = torch.zeros(logits.shape[1], device=logits.device)
    counts.index_add_(0, picked, torch.ones(len(picked), device=logits.device))
    return counts.max() / len(logits)
