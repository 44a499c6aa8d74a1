"""How a mixture of experts routes its tokens: who gets how many, and what evens it out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from cpt.errors import CptError
from cpt.training.data.inputs import ModelInputs
from cpt.training.forward.agreement import agreed
from cpt.training.forward.architecture import backbone_of
from cpt.training.forward.head import Head
from cpt.training.forward.probing import trial

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


def experts_per_token(model: Any, head: Head | None) -> int:
    """How many experts a token picks; the same on every process.

    Raises `CptError` for a model that records no router logits, or has no such loss of its own.
    """
    return agreed(lambda: _experts_per_token(model, head))


def _experts_per_token(model: Any, head: Head | None) -> int:
    config = model.config.get_text_config()
    top_k = getattr(config, "num_experts_per_tok", None)
    balanced = getattr(config, "router_aux_loss_coef", None) is not None
    if head is None or not top_k or not balanced or not _records(model):
        raise CptError(
            f"train.router_aux_loss: {type(model).__name__} has no router with a load-balancing "
            "loss in transformers (as qwen3_moe, mixtral or gpt_oss have); leave the option out."
        )
    return int(top_k)


def _records(model: Any) -> bool:
    """Whether the backbone gives a row of router logits for each token."""
    if any(parameter.is_meta for parameter in model.parameters()):
        return True  # the process that holds the weights tries it
    with trial.quiet(model):
        ids = trial.ids_of(model, 0, 7)[None]
        try:
            output = backbone_of(model)(input_ids=ids, use_cache=False, output_router_logits=True)  # type: ignore[misc]
        except trial.FAILURES:
            return False
    logits = getattr(output, "router_logits", None) or ()
    return bool(logits) and all(layer.ndim == 2 and len(layer) == 7 for layer in logits)


def _load_max(logits: Tensor, top_k: int) -> Tensor:
    picked = logits.topk(top_k, dim=1).indices.flatten()
    counts = torch.zeros(logits.shape[1], device=logits.device)
    counts.index_add_(0, picked, torch.ones(len(picked), device=logits.device))
    return counts.max() / len(logits)
