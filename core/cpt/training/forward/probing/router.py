"""Whether a model has routers whose load can be balanced, found by trying."""

from __future__ import annotations

from typing import Any

from cpt.errors import CptError
from cpt.training.forward.agreement import agreed
from cpt.training.forward.architecture import backbone_of
from cpt.training.forward.head import Head
from cpt.training.forward.probing import trial


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
