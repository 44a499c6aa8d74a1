"""The trained model as a folder that transformers and other tools read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cpt.files import atomic_folder
from cpt.models import derived
from cpt.training.accelerator import is_sharded
from cpt.training.data.tokens import special_ids
from cpt.training.forward.loading.model import load_model, made_trainable, saved_dtype
from cpt.training.forward.scores import SequenceScores, classifier_of
from cpt.training.output.card import model_card
from cpt.training.output.rounding import WeightFormat, may_round, weight_format
from cpt.training.output.whole import whole
from cpt.training.planning.plan import Plan


@attrs.frozen(eq=False)
class Trained:
    """A trained model in memory, merged with its adapter."""

    model: Any
    sharded: Mapping[str, Tensor] | None
    """All weights, on the main process, if each process holds a part; else the model has them."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return self.sharded or dict(self.model.named_parameters())


def collect(accelerator: Any, prepared: Any, plan: Plan, output: Path) -> Trained:
    """The trained model of the wrapped `SequenceLogps`; writes `output/adapter` if there is one.

    An adapter is merged in fp32, so that what it learned is not rounded away. Every process calls
    this.
    """
    weights = gathered(accelerator, prepared)
    module = accelerator.unwrap_model(prepared, keep_fp32_wrapper=False)
    model = module.model
    if weights is not None and not accelerator.is_main_process:
        return Trained(model, weights)  # a part, of which nothing is made
    if hasattr(model, "merge_and_unload"):
        if weights or plan.options.weights != "fp32":
            model = _upon_fp32(model, plan, weights)
        if accelerator.is_main_process:
            with atomic_folder(output / "adapter") as folder:
                model.save_pretrained(folder)
        derived.untie(model)
        model, weights = model.merge_and_unload(), None
    if isinstance(module, SequenceScores):
        return Trained(classifier_of(model, module.score), None)
    return Trained(model, weights)


def gathered(accelerator: Any, prepared: Any) -> Mapping[str, Tensor] | None:
    """All weights of a sharded model, by name, on the main process; None if none is sharded.

    Every process calls this.
    """
    if not is_sharded(accelerator):
        return None
    weights: Mapping[str, Tensor] = accelerator.get_state_dict(prepared) or {}
    if accelerator.distributed_type == "DEEPSPEED":
        weights = _once(prepared.module, {**weights, **_unrounded(accelerator, prepared.module)})
    return {name.removeprefix("model."): weight for name, weight in weights.items()}


def _unrounded(accelerator: Any, module: nn.Module) -> dict[str, Tensor]:
    """What DeepSpeed trains in fp32 and multiplies with in bf16, on the main process.

    Every process calls this.
    """
    # Of a library that whoever launches with it has installed, and nobody else.
    whole_of = resolve_name("deepspeed.utils:safe_get_full_fp32_param")
    kept = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad and parameter.dtype != torch.float32:
            weight = whole_of(parameter)  # of all processes: none may leave it out
            if accelerator.is_main_process:
                kept[name] = weight.cpu()
    return kept


def _once(module: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tied weights under their first name alone: DeepSpeed gives a copy for each."""
    first = {name for name, _ in module.named_parameters()}
    names = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    return {name: weight for name, weight in weights.items() if name not in names - first}


def _upon_fp32(adapted: Any, plan: Plan, sharded: Mapping[str, Tensor] | None) -> Any:
    """The same adapter around the base's own weights, on the CPU.

    `sharded` are all weights, where this process holds a part of them.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    base = load_model(plan.folder, trust_remote_code=plan.options.trust_remote_code)
    model = made_trainable(base, attrs.evolve(plan.options, gradient_checkpointing=False))
    set_peft_model_state_dict(model, get_peft_model_state_dict(adapted, sharded))
    return model


def copy_of(module: Any, plan: Plan, sharded: Mapping[str, Tensor] | None = None) -> Trained:
    """What is trained as it is now, as `collect` gives it: a copy of its own, on the CPU.

    `sharded` are all weights, where this process holds a part of them.
    """
    model = module.model
    if hasattr(model, "merge_and_unload"):
        copied = _upon_fp32(model, plan, sharded)
        derived.untie(copied)
        return Trained(copied.merge_and_unload(), None)
    copied = load_model(plan.folder, trust_remote_code=plan.options.trust_remote_code)
    copied.load_state_dict(sharded or dict(model.named_parameters()), strict=False)
    return Trained(copied, None)


def how_to_store(plan: Plan, trained: Trained) -> WeightFormat:
    """The format of the weights that are written, and what it does to what was learned."""
    trust = plan.options.trust_remote_code
    base = saved_dtype(plan.folder, trust_remote_code=trust)
    if not may_round(plan.options, base):
        return WeightFormat("float32")
    start = load_model(plan.folder, trust_remote_code=trust).state_dict()
    return weight_format(plan.options, base, start, trained.weights)


def export(
    plan: Plan,
    trained: Trained,
    how: WeightFormat,
    path: Path,
    *,
    metrics: Mapping[str, Any],
) -> None:
    """Write the model's folder as the main process.

    All but the weights is copied from the folder of the starting model, and so are weights beside
    those of its text part, such as vision; a card is added, and generation ends where the answers
    that the model was trained on do.
    """
    text, dtype = trained.model, getattr(torch, how.dtype)
    model, weights = whole(plan.folder, text, trained.sharded or text.state_dict())
    weights = _cast(weights, dtype, _always_fp32(model))
    model.to(dtype)
    with atomic_folder(path) as folder:
        model.save_pretrained(folder, state_dict=weights)
        derived.copy_beside_weights(plan.folder, folder)
        derived.keep_config(plan.folder, folder, model, how.dtype)
        if model.can_generate():
            derived.keep_generation(plan.folder, folder, _stops(model.generation_config, plan))
        derived.keep_template(folder, plan.tokenizer.chat_template)
        (folder / "README.md").write_text(model_card(plan, metrics, how), encoding="utf-8")


def _stops(generation: Any, plan: Plan) -> int | list[int] | None:
    """Where generation stops: also at the token that ends an answer."""
    special = special_ids(plan.tokenizer)
    answer = plan.corpus.sequences[plan.corpus.chosen[0]].answer.tolist()
    end = next((token for token in reversed(answer) if token in special), None)
    known: int | list[int] | None = generation.eos_token_id
    stops = [] if known is None else known if isinstance(known, list) else [known]
    if end is None or end in stops:
        return known
    return [*stops, end] if stops else end


def _always_fp32(model: Any) -> tuple[str, ...]:
    """Parts of names of weights that a model wants in fp32 in every format."""
    return tuple(getattr(model, "_keep_in_fp32_modules_strict", None) or ())


def _cast(
    weights: Mapping[str, Tensor], dtype: torch.dtype, exact: Sequence[str]
) -> dict[str, Tensor]:
    """The weights in a format; tied ones stay one tensor, so that they are saved once."""
    made: dict[int, Tensor] = {}

    def cast(name: str, weight: Tensor) -> Tensor:
        stays = not weight.is_floating_point() or any(part in name for part in exact)
        return weight if stays else made.setdefault(weight.data_ptr(), weight.to(dtype))

    return {name: cast(name, weight) for name, weight in weights.items()}
