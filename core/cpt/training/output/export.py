"""The trained model as a folder that transformers and other tools read."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cpt.training.data.tokens import special_ids
from cpt.training.forward.loading import load_model, saved_dtype
from cpt.training.output import folder as folders
from cpt.training.output.card import model_card
from cpt.training.output.checkpoint import publish
from cpt.training.output.rounding import Stored, stored
from cpt.training.plan import Plan


@attrs.frozen(eq=False)
class Trained:
    """A trained model in memory, merged with its adapter."""

    model: Any
    sharded: Mapping[str, Tensor] | None
    """All weights, on the main process, if each process holds a part; else the model has them."""

    @property
    def weights(self) -> Mapping[str, Tensor]:
        return self.sharded or dict(self.model.named_parameters())


def collect(accelerator: Any, prepared: Any, output: Path) -> Trained:
    """The trained model of the wrapped `SequenceLogps`; writes `output/adapter` if there is one.

    Every process calls this.
    """
    sharded = accelerator.distributed_type in ("FSDP", "DEEPSPEED")
    weights = accelerator.get_state_dict(prepared) if sharded else None
    model = accelerator.unwrap_model(prepared, keep_fp32_wrapper=False).model
    if hasattr(model, "merge_and_unload"):
        if accelerator.is_main_process:
            _publish(output / "adapter", model.save_pretrained)
        _untie(model)
        model = model.merge_and_unload()
    return Trained(
        model, weights and {name.removeprefix("model."): weights[name] for name in weights}
    )


def how_to_store(plan: Plan, trained: Trained) -> tuple[Stored, Mapping[str, torch.dtype]]:
    """How to store the weights, and the format of each where that is the base's own."""
    base = saved_dtype(plan.folder)
    if plan.options.export_dtype == "fp32" or (
        base == torch.float32 and plan.options.export_dtype in ("auto", "base")
    ):
        return Stored("float32"), {}
    start = load_model(plan.folder, base).state_dict()
    chosen = stored(plan.options, base, start, trained.weights)
    own = {name: weight.dtype for name, weight in start.items()}
    return chosen, own if chosen.dtype == str(base).removeprefix("torch.") else {}


def export(
    plan: Plan,
    trained: Trained,
    how: tuple[Stored, Mapping[str, torch.dtype]],
    output: Path,
    *,
    metrics: Mapping[str, Any],
) -> None:
    """Write `output/model` as the main process.

    All but the weights is copied from the folder of the starting model; a card is added, and
    generation ends where the answers that the model was trained on do.
    """
    chosen, own = how
    model = trained.model
    dtype = getattr(torch, chosen.dtype)
    weights = trained.sharded or model.state_dict()
    model.to(dtype)

    def write(folder: Path) -> None:
        model.save_pretrained(folder, state_dict=_cast(weights, dtype, own))
        folders.copy_beside_weights(plan.folder, folder)
        folders.keep_config(plan.folder, folder, model, chosen.dtype)
        folders.keep_generation(plan.folder, folder, _stops(model.generation_config, plan))
        folders.keep_template(folder, plan.tokenizer.chat_template)
        (folder / "README.md").write_text(model_card(plan, metrics, chosen), encoding="utf-8")

    _publish(output / "model", write)


def _publish(final: Path, write: Callable[[Path], object]) -> None:
    temporary = final.with_name(f".{final.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(final, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    publish(temporary, final)


def _untie(model: Any) -> None:
    """Give head and embeddings a matrix each, if they share one and either has an adapter.

    Merging into the shared matrix would change both.
    """
    base = model.get_base_model()
    head, embeddings = base.get_output_embeddings(), base.get_input_embeddings()
    adapted = [part for part in (head, embeddings) if hasattr(part, "base_layer")]
    if not adapted or head.weight is not embeddings.weight:
        return
    layer = getattr(head, "base_layer", head)
    layer.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
    for config in (base.config, base.config.get_text_config()):
        config.tie_word_embeddings = False


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


def _cast(
    weights: Mapping[str, Tensor], dtype: torch.dtype, own: Mapping[str, torch.dtype]
) -> dict[str, Tensor]:
    """The weights in the format of each; tied ones stay one tensor, so that they are saved once."""
    made: dict[int, Tensor] = {}
    return {
        name: made.setdefault(
            weight.data_ptr(),
            weight.to(own.get(name, dtype)) if weight.is_floating_point() else weight,
        )
        for name, weight in weights.items()
    }
