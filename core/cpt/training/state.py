"""A training in progress: what is loaded, and how far it has come."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import attrs
from accelerate import Accelerator

from cpt.training.data.packing import Layout
from cpt.training.forward.flops import Work, peak_of
from cpt.training.forward.logps import SequenceLogps
from cpt.training.loss import metrics
from cpt.training.loss.carried import Carried
from cpt.training.module import trained_module
from cpt.training.optimizer.adamw import make_optimizer
from cpt.training.output import checkpoint
from cpt.training.planning.plan import Plan
from cpt.training.reference.scoring import References, Scorer
from cpt.training.reference_logps import (
    Report,
    both_references,
    references_of_another,
    scorer_of,
)
from cpt.training.step import MicroBatch, PromptGroup

Cut = tuple[Sequence[PromptGroup], Sequence[MicroBatch]]
"""The groups of a step, and the micro-batches of one process."""


@attrs.define(eq=False, kw_only=True)
class State:
    """All that changes while a model is trained, with the plan of it."""

    plan: Plan
    accelerator: Accelerator
    wrapped_module: Any
    """The `SequenceLogps` that is trained, as accelerate wrapped it."""
    layout: Layout
    """How the model allows sequences to be arranged."""
    max_tokens: int
    """Most tokens in a micro-batch."""
    scorer: Scorer
    """The same model, unwrapped and without gradient."""
    optimizer: Any
    references: References | None
    """None if the loss compares with none."""
    work: Work
    """What a call of the model computes."""
    order: Sequence[Sequence[int]]
    """The batch of each step; behind the phases that have begun, as the plan has it."""
    scores: list[list[float]] = attrs.field(factory=list)
    """Of each phase that has begun, what its pairs were measured by."""
    reference_step: int | None = None
    """The step after which the model was the reference; None if that is another model."""
    held_out_references: References | None = None
    meter: metrics.Meter = attrs.field(factory=metrics.Meter)
    done: int = 0
    """Optimizer steps so far."""
    independence_tried: bool = False
    """Whether this process has tried that the loss does not mix pairs."""
    own_metrics: tuple[str, ...] | None = None
    """Names of the loss's own metrics, once they are known."""
    carried: Carried = attrs.field(factory=Carried)
    """What the loss carries from step to step."""
    watched: list[tuple[int, float]] = attrs.field(factory=list)
    """Each measured step with the metric that decides which is the best; empty without one."""
    peak: float | None = None
    """FLOP/s of the device, where they are known."""
    ahead: Cut | None = None
    """The next step, if it was cut already."""

    @property
    def policy_is_reference(self) -> bool:
        """Nothing has been learned since the model was the reference."""
        return self.done == self.reference_step


def begin(
    plan: Plan, accelerator: Accelerator, output: Path, report: Report = lambda *_: None
) -> State:
    """Load the model, compute the references that are missing, resume from the last checkpoint.

    `report` is called as by `references`.
    """
    quiet = not accelerator.is_main_process
    resumed = checkpoint.latest(output / "checkpoints", plan.digest, quiet=quiet)
    needed = "reference" in plan.loss.needs
    reference_is_start = plan.reference == plan.folder
    values = held_out = None
    if needed and not reference_is_start:
        values, held_out = references_of_another(plan, accelerator, output, report)
    module = trained_module(plan, accelerator)
    scorer = scorer_of(plan, accelerator, module)
    wrapped, optimizer = accelerator.prepare(module, make_optimizer(module, plan.options))
    accelerator.register_save_state_pre_hook(checkpoint.leave_out_frozen)
    if needed and reference_is_start:
        with _without_adapter(module):
            values, held_out = both_references(plan, scorer, output, report)
    state = State(
        plan=plan,
        accelerator=accelerator,
        wrapped_module=wrapped,
        layout=module.layout,
        max_tokens=scorer.max_tokens,
        scorer=scorer,
        optimizer=optimizer,
        references=values,
        work=Work.of(module.causal, frozen=bool(plan.options.lora_rank)),
        order=plan.order,
        reference_step=0 if reference_is_start else None,
        peak=peak_of(accelerator.device, plan.options.precision),
        held_out_references=held_out,
    )
    if resumed:
        _resume(state, *resumed)
    if accelerator.is_main_process:
        metrics.keep_until(output / "metrics.jsonl", state.done)
    return state


@contextmanager
def _without_adapter(module: SequenceLogps) -> Iterator[None]:
    """Compute as the model under an adapter, if there is one."""
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    with getattr(module.model, "disable_adapter", nullcontext)():
        for parameter in trained:  # FSDP2 looks at its first call what is trained
            parameter.requires_grad_(True)
        yield


def save(state: State, output: Path) -> Path:
    """Write a checkpoint. Every process calls this."""
    accelerator, options = state.accelerator, state.plan.options
    values = {
        "digest": state.plan.digest,
        "sums": state.meter.fold(accelerator),
        "carried": state.carried.values,
        "watched": state.watched,
        "scores": state.scores,
    }
    folder = output / "checkpoints"
    return checkpoint.save(accelerator, folder, state.done, values, options.keep_checkpoints)


def _resume(state: State, folder: Path, values: Mapping[str, Any]) -> None:
    checkpoint.load(state.accelerator, folder)
    state.done = values["step"]
    state.meter.before = values["sums"]
    state.carried.values = values.get("carried", {})
    state.watched = [(step, value) for step, value in values.get("watched", ())]
    state.scores = values.get("scores", [])
