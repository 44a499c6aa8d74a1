"""Everything that a run needs to be repeated."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import attrs
from attrs.validators import and_, ge, le, lt, optional

from cpt.asking.options import Asking
from cpt.config import options
from cpt.plugins.registry import Registry
from cpt.roles import PATH, Evaluator, Filter, Loss, Observer, Pairer, Responder, Scheduler
from cpt.training.options import Training

BEFORE, AFTER = "before", "after"
"""The models that every evaluation measures; controls come beside them, by name."""

COUNT = optional(and_(ge(1), le(sys.maxsize)))


def _check_names(_: Any, field: attrs.Attribute[Any], names: Iterable[str]) -> None:
    """A control's name is part of addresses, flags and paths, and two names are taken."""
    for name in names:
        if not name.isidentifier() or name in (BEFORE, AFTER):
            raise ValueError(
                f"'{field.name}' must have names of letters, digits and _ "
                f"(and not {BEFORE} or {AFTER}), got {name!r}"
            )


@attrs.frozen(kw_only=True)
class ControlConfig:
    """What a run is compared with: another training from the same model, or none."""

    pairer: Pairer | None = None
    """Makes its pairs; without one, it trains on the run's own."""
    scheduler: Scheduler | None = None
    """Orders its pairs; without one, the run's own does."""
    loss: Loss | None = None
    """Trains it; without one, the model stays as it is."""
    train: Mapping[str, Any] = attrs.field(factory=dict)
    """Options of `train` in which it differs from the run."""
    temperature: float | None = None
    """Temperature at which it answers, if not the run's."""


@attrs.frozen(kw_only=True)
class Config:
    """Everything that a run needs to be repeated."""

    prompts: str | None = attrs.field(default=None, metadata=PATH)
    """What to ask: a file (jsonl, json, parquet, csv), a folder of such, or a hub id."""
    limit: int | None = attrs.field(default=None, validator=COUNT)
    """Take only the first so many prompts."""
    responder: Responder | None = None
    """Who answers in `cpt respond`."""
    samples: int = attrs.field(default=1, validator=ge(1))
    """Answers to each prompt in `cpt respond`."""
    pairer: Pairer | None = None
    """Turns prompts into preferences."""
    pairs: str | None = attrs.field(default=None, metadata=PATH)
    """Pairs to train on instead of making them: a file, a folder or a hub id."""
    filters: tuple[Filter, ...] = ()
    """Leave pairs out before training; repeat the flag for several, which work in this order."""
    holdout: float | None = attrs.field(default=None, validator=optional(and_(ge(0.0), lt(1.0))))
    """Share of the prompts whose pairs are not trained on; 0.05 if something measures on pairs."""
    model: str | None = attrs.field(default=None, metadata=PATH)
    """What to train: a folder or a hub id that transformers loads."""
    scheduler: Scheduler
    """Decides which pairs are trained on, and in which order."""
    loss: Loss
    """Scores a batch of pairs."""
    train: Training = attrs.field(factory=Training)
    """How to train, with any loss."""
    evaluators: tuple[Evaluator, ...] = ()
    """Measure the model before and after; repeat the flag for several."""
    eval_prompts: str | None = attrs.field(default=None, metadata=PATH)
    """What the evaluated models are asked; held out from training."""
    eval_pairs: str | None = attrs.field(default=None, metadata=PATH)
    """Held-out pairs to measure on; without them, those that --holdout kept."""
    eval_limit: int | None = attrs.field(default=None, validator=COUNT)
    """Ask only the first so many of `eval_prompts`; as many as `limit` where none is given."""
    generator: Responder | None = None
    """How an evaluated model answers; its model is filled in."""
    controls: Mapping[str, ControlConfig] = attrs.field(factory=dict, validator=_check_names)
    """What to compare the trained model with, by name."""
    rounds: int = attrs.field(default=1, validator=and_(ge(1), le(100)))
    """Times to answer, pair, train and measure, each with the model of the round before."""
    round_reference: Literal["refreshed", "fixed"] = "refreshed"
    """The reference model of a round: the one that the round begins with, or always the first."""
    round_prompts: Literal["all", "parts"] = "all"
    """What is asked in a round: all prompts, or its own part of them."""
    observers: tuple[Observer, ...] = ()
    """Observe the run; repeat the flag for several."""
    asking: Asking = attrs.field(factory=Asking)
    """How responders are asked."""
    seed: int = attrs.field(default=0, validator=and_(ge(0), le(2**32 - 1)))
    """What everything random is drawn from."""


def training_of(config: Config, control: str, registry: Registry) -> Training:
    """How a control is trained: as the run, but for what it says. Raises `BadOptions`."""
    same = options.converter(registry).unstructure(config.train)
    changed = {**same, **config.controls[control].train}
    return options.build(Training, changed, registry, under=f"controls.{control}.train")
