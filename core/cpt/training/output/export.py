"""The trained model as a folder that transformers and other tools read."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import torch
import yaml
from torch import Tensor

from cpt.files import atomic_folder
from cpt.roles import Component
from cpt.training.data.tokens import special_ids
from cpt.training.forward.loading import saved_dtype
from cpt.training.plan import Plan

PACKAGES = ("contrastive-post-training", "torch", "transformers", "accelerate")


def export(
    accelerator: Any, prepared: Any, plan: Plan, output: Path, *, metrics: Mapping[str, Any]
) -> None:
    """Write `output/model`, and `output/adapter` if there is one. Every process calls this.

    `prepared` is the wrapped `SequenceLogps`. The model is written merged with its adapter, in
    the number format that the starting model was stored in, with tokenizer, chat template and a
    card; its generation ends where the answers that it was trained on do.
    """
    dtype = saved_dtype(plan.folder)
    sharded = accelerator.distributed_type in ("FSDP", "DEEPSPEED")
    weights = accelerator.get_state_dict(prepared) if sharded else None
    model = accelerator.unwrap_model(prepared, keep_fp32_wrapper=False).model
    if hasattr(model, "merge_and_unload"):
        if accelerator.is_main_process:
            with atomic_folder(output / "adapter") as folder:
                model.save_pretrained(folder)
        model = model.merge_and_unload()
    model.to(dtype)
    _stop_at(model.generation_config, plan)
    if accelerator.is_main_process:
        with atomic_folder(output / "model") as folder:
            model.save_pretrained(folder, state_dict=weights and _cast(weights, dtype))
            plan.tokenizer.save_pretrained(folder)
            (folder / "README.md").write_text(model_card(plan, metrics), encoding="utf-8")
    accelerator.wait_for_everyone()


def _stop_at(generation: Any, plan: Plan) -> None:
    """Let generation stop at the token that ends an answer, if it does not yet."""
    special = special_ids(plan.tokenizer)
    answer = plan.corpus.sequences[plan.corpus.chosen[0]].answer.tolist()
    end = next((token for token in reversed(answer) if token in special), None)
    known = generation.eos_token_id
    stops = [] if known is None else known if isinstance(known, list) else [known]
    if end is not None and end not in stops:
        generation.eos_token_id = [*stops, end] if stops else end


def _cast(weights: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """With the model's own names; tied weights stay one tensor, so that they are saved once."""
    made: dict[int, Tensor] = {}
    return {
        name.removeprefix("model."): made.setdefault(weight.data_ptr(), weight.to(dtype))
        for name, weight in weights.items()
    }


def model_card(plan: Plan, metrics: Mapping[str, Any]) -> str:
    """What the model is, in the form that the hub reads."""
    head = {
        "base_model": str(plan.folder),
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["contrastive-post-training", plan.loss.name],
    }
    pairers = sorted({pair.pairer for pair in plan.corpus.pairs if pair.pairer})
    dropped = ", ".join(f"{count} {name}" for name, count in plan.diagnosis.refused.items())
    made_by = f" made by `{'`, `'.join(pairers)}`" if pairers else ""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return CARD.format(
        head=yaml.safe_dump(head, sort_keys=False).strip(),
        base=plan.folder,
        reference=plan.reference,
        loss=_described(plan.loss),
        scheduler=_described(plan.scheduler),
        pairs=f"{plan.diagnosis.kept} pairs{made_by}; {dropped or 'none'} dropped",
        training=_table(attrs.asdict(plan.options) | {"seed": plan.seed, "steps": plan.steps}),
        metrics=_table(metrics),
        versions=versions,
    )


CARD = """---
{head}
---

# A model trained on preferences

Trained from `{base}` on {pairs}; compared with `{reference}`.

## Loss

{loss}

## Order of the pairs

{scheduler}

## Training

{training}

## Metrics at the end

{metrics}

Made with {versions}.
"""


def _described(component: Component) -> str:
    options = ", ".join(f"{name} = {value}" for name, value in attrs.asdict(component).items())
    about = inspect.getdoc(type(component)) or ""
    return f"`{component.name}`{options and f' with {options}'}.\n\n{about}"


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| `{name}` | {value} |" for name, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows])
