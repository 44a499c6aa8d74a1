"""The card of a trained model, in the form that the hub reads."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import attrs
import yaml

from cpt.markdown import literal, table
from cpt.models import hub
from cpt.roles import Component, Loss
from cpt.roles.evaluator import labelled
from cpt.training.output.rounding import WeightFormat
from cpt.training.planning.plan import Plan

PACKAGES = ("contrastive-post-training", "torch", "transformers", "accelerate")
MOST_NAMED = 10


def model_card(plan: Plan, metrics: Mapping[str, Any], stored: WeightFormat) -> str:
    """What the model is and how it was made."""
    base = hub.id_of(plan.folder)
    head = {
        **({"base_model": base} if base else {}),
        "library_name": "transformers",
        "pipeline_tag": _task(plan.loss),
        "tags": ["contrastive-post-training", plan.loss.name],
    }
    pairers = sorted(plan.corpus.pairers)
    dropped = ", ".join(f"{count} {name}" for name, count in plan.diagnosis.dropped.items())
    names = [*map(literal, pairers[:MOST_NAMED])]
    names += [f"{len(pairers) - MOST_NAMED} more"] if len(pairers) > MOST_NAMED else []
    made_by = f" made by {', '.join(names)}" if pairers else ""
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return CARD.format(
        head=yaml.safe_dump(head, sort_keys=False).strip(),
        base=literal(base or plan.folder),
        reference=literal(plan.reference),
        loss=_described(plan.loss),
        scheduler=_described(plan.scheduler),
        pairs=f"{plan.diagnosis.kept} pairs{made_by}; {dropped or 'none'} dropped",
        training=table(_options(plan) | {"seed": plan.seed, "steps": plan.steps}),
        metrics=table(metrics),
        weights=stored.sentence,
        versions=versions,
    )


def _options(plan: Plan) -> dict[str, Any]:
    """How it was trained; of evaluators their names."""
    values = attrs.asdict(plan.options, recurse=False)
    names = [label for label, _ in labelled(plan.options.evaluators)]
    return values | {"evaluators": names}


def _task(loss: Loss) -> str:
    return "text-classification" if "score" in loss.needs else "text-generation"


CARD = """---
{head}
---

# A model trained on preferences

Trained from {base} on {pairs}; compared with {reference}.

## Loss

{loss}

## Order of the pairs

{scheduler}

## Training

{training}

## Metrics at the end

{metrics}

## Weights

{weights}

Made with {versions}.
"""


def _described(component: Component) -> str:
    values = attrs.asdict(component).items()
    options = ", ".join(f"{name} = {literal(value)}" for name, value in values)
    about = inspect.getdoc(type(component)) or ""
    return f"`{component.name}`{options and f' with {options}'}.\n\n{about}"
