"""What a training would take, from its pairs and the model's configuration: nothing is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch

from cpt.models import device_of
from cpt.training.accelerator import micro_tokens_of
from cpt.training.data.packing import Layout
from cpt.training.forward.flops import named_peak
from cpt.training.options import Training
from cpt.training.planning.plan import Plan
from cpt.training.resources.memory import Footprint, Sketch, sketch
from cpt.training.step import MicroBatch, group_by_prompt, micro_batches

DEVICES = {"24 GB": 24e9, "40 GB": 40e9, "80 GB": 80e9, "141 GB": 141e9}
"""The usual accelerators, by their memory."""
FREE = 0.94
"""Share of a device that one training may count on: the rest is lost between tensors."""
MFU = 0.4
"""Share of its peak that a device is taken to reach, in what is needed (`exact`)."""
PEAK = "H100"
"""The device whose hours are given where the one here has no known peak."""
FORWARD = 1 / 3
"""The forward pass in the work of a step; the backward pass is the rest."""
SAMPLED = 40
"""Steps that are looked at; of a longer training, evenly spread ones stand for all."""
REMEDIES: Sequence[Mapping[str, Any]] = (
    {},
    {"gradient_checkpointing": True},
    {"gradient_checkpointing": True, "micro_tokens": 2048},
    {"gradient_checkpointing": True, "precision": "bf16"},
    *(
        {"gradient_checkpointing": True, "precision": "bf16", **more}
        for more in (
            {"weights": "bf16", "optimizer": "adamw_8bit"},
            {"weights": "bf16", "optimizer": "adamw_4bit", "micro_tokens": 2048},
            {"weights": "bf16", "lora_rank": 16},
            {"weights": "bf16", "lora_rank": 16, "micro_tokens": 2048},
            {"weights": "nf4", "lora_rank": 16},
            {"weights": "nf4", "lora_rank": 16, "micro_tokens": 2048},
        )
    ),
)
"""What may be changed so that a training fits, from the least change to the largest."""


@attrs.frozen(kw_only=True)
class Fit:
    """Whether a training fits into a device, and what would make it."""

    bytes: float
    """Of the device."""
    fits: bool
    change: Mapping[str, Any] | None
    """Options of `train` with which it fits; none where it does, None where nothing helps."""


@attrs.frozen(kw_only=True)
class TrainingEstimate:
    """What a training would take."""

    parameters: int
    trained: int
    pairs: int
    steps: int
    tokens: int
    """That the model reads, over all steps, shared prompts once."""
    largest: int
    """Tokens of the largest micro-batch."""
    flops: float
    """Forward and backward that are needed over all steps, and what a phased scheduler asks for."""
    hours: float
    """On `device` at `mfu` of its peak."""
    mfu: float
    device: str
    memory: Footprint
    here: Fit
    devices: Mapping[str, Fit]

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        return attrs.asdict(self) | {"memory": attrs.asdict(self.memory) | self._total}

    @property
    def _total(self) -> dict[str, float]:
        return {"total": self.memory.total}


@attrs.frozen(kw_only=True)
class _Load:
    """What the model is called with, over all steps."""

    tokens: float
    flops: float
    largest: int
    answers: int
    """Most answer tokens in a micro-batch."""


def estimate(plan: Plan) -> TrainingEstimate:
    """What a plan would take on this device, and whether on others. Raises `CptError`."""
    device = device_of(plan.options.device).partition(":")[0]
    counted = Counted(plan)
    made, load = counted.sketched(plan.options), counted.load(plan.options, device)
    name = _named(device)
    flops = load.flops * (1 + FORWARD * _looks(plan))
    return TrainingEstimate(
        parameters=made.parameters,
        trained=made.trained,
        pairs=plan.diagnosis.kept,
        steps=plan.steps,
        tokens=round(load.tokens),
        largest=load.largest,
        flops=flops,
        hours=flops / (MFU * (named_peak(name) or 1.0)) / 3600,
        mfu=MFU,
        device=name,
        memory=made.footprint(load.largest, load.answers, device),
        here=counted.fit(device, capacity(device)),
        devices={name: counted.fit("cuda", size) for name, size in DEVICES.items()},
    )


def too_large(plan: Plan, device: str) -> str:
    """What would make a training fit that ran out of memory, in a few words."""
    change = Counted(plan).fit(device, capacity(device), skip=1).change
    if not change:
        return "no option makes it fit here: take a smaller model, or a larger device"
    return f"it is estimated to fit with {flags(change)}"


def flags(change: Mapping[str, Any]) -> str:
    """Options of `train` as they are written on a command line."""
    return " ".join(
        f"--train.{name.replace('_', '-')}{'' if value is True else f' {value}'}"
        for name, value in change.items()
    )


@attrs.frozen(eq=False)
class Counted:
    """A plan under other options: what was counted once is kept."""

    plan: Plan
    _loads: dict[Any, _Load] = attrs.field(factory=dict, init=False)
    _sketches: dict[Any, Sketch] = attrs.field(factory=dict, init=False)

    def fit(self, device: str, size: float, skip: int = 0) -> Fit:
        """The first remedy with which the plan fits into so many bytes."""
        for change in REMEDIES[skip:]:
            options = _changed(self.plan.options, change)
            if options is not None and self.total(options, device) <= FREE * size:
                return Fit(bytes=size, fits=not change, change=_new(change, self.plan.options))
        return Fit(bytes=size, fits=False, change=None)

    def sketched(self, options: Training) -> Sketch:
        """The model as these options hold it."""
        key = (options.weights, options.precision, options.lora_rank)
        if key not in self._sketches:
            self._sketches[key] = sketch(self.plan.folder, options)
        return attrs.evolve(self._sketches[key], options=options)

    def load(self, options: Training, device: str) -> _Load:
        """Counted over some steps, for all of them."""
        most = micro_tokens_of(options, device)
        if most not in self._loads:
            self._loads[most] = _load(self.plan, self.sketched(options), most)
        return self._loads[most]

    def total(self, options: Training, device: str) -> float:
        """Bytes of the plan under these options."""
        load = self.load(options, device)
        return self.sketched(options).footprint(load.largest, load.answers, device).total


def _changed(options: Training, change: Mapping[str, Any]) -> Training | None:
    """The options with a change; None where adapters leave nothing of it."""
    if options.lora_rank and change.get("optimizer"):
        return None
    kept = {"lora_rank": options.lora_rank} if options.lora_rank and "lora_rank" in change else {}
    if options.micro_tokens and "micro_tokens" in change:
        kept["micro_tokens"] = min(options.micro_tokens, change["micro_tokens"])
    return attrs.evolve(options, **{**change, **kept})


def _new(change: Mapping[str, Any], options: Training) -> dict[str, Any]:
    return {name: value for name, value in change.items() if getattr(options, name) != value}


def _load(plan: Plan, made: Sketch, most: int) -> _Load:
    """Some steps, evenly spread, cut into micro-batches of at most so many tokens."""
    steps = plan.order[:: -(-plan.steps // SAMPLED)]
    calls = [call for step in steps for call in _calls(plan, step, made.layout, most)]
    share = plan.steps / len(steps)
    return _Load(
        tokens=share * sum(call.inputs.tokens for call in calls),
        flops=share * sum(made.work.exact(call.inputs) for call in calls),
        largest=max(call.inputs.size for call in calls),
        answers=max(len(call.inputs.targets) for call in calls),
    )


def _looks(plan: Plan) -> float:
    """Passes over pairs that phases begin with, as multiples of all that is trained on."""
    trained_on = sum(map(len, plan.order))
    measured = sum(len(plan.corpus.pairs) for phase in plan.phases if phase.score)
    renewed = sum(phase.steps for phase in plan.phases if phase.refresh)
    return measured / trained_on + renewed / plan.steps


def _calls(plan: Plan, step: Sequence[int], layout: Layout, most: int) -> Iterator[MicroBatch]:
    groups = group_by_prompt(step, plan.corpus, plan.loss, most, layout)
    yield from micro_batches(groups, plan.corpus, most, layout)


def capacity(device: str) -> float:
    """Bytes that there are here."""
    if device == "cuda":
        return float(torch.cuda.get_device_properties(0).total_memory)
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))


def _named(device: str) -> str:
    """The device here if its peak is known, else one that people have."""
    name = torch.cuda.get_device_name(0) if device == "cuda" else ""
    return name if named_peak(name) else PEAK
