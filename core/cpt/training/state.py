"""A training in progress: what is loaded, and how far it has come."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState
from numpy.typing import NDArray

from cpt.errors import CptError
from cpt.training.data.columns.blocks import ABSENT
from cpt.training.data.packing import Layout
from cpt.training.forward.flops import Work, peak_of
from cpt.training.forward.loading.model import compile_layers, load_model, made_trainable
from cpt.training.forward.logps import SequenceLogps
from cpt.training.forward.scores import SequenceScores
from cpt.training.loss import metrics
from cpt.training.loss.carried import Carried
from cpt.training.optimizer.adamw import make_optimizer
from cpt.training.options import Training
from cpt.training.output import checkpoint
from cpt.training.output.sharded import shard_checkpoints
from cpt.training.plan import Plan
from cpt.training.reference.scoring import References, Scorer, references
from cpt.training.reference.store import Store, open_store, store_digest
from cpt.training.step import MicroBatch, PromptGroup

log = logging.getLogger(__name__)

Report = Callable[[int, int], None]

Cut = tuple[Sequence[PromptGroup], Sequence[MicroBatch]]
"""The groups of a step, and the micro-batches of one process."""
MICRO_TOKENS = {"cpu": 2048}
"""Tokens that keep a device busy, by its type; 8192 for others."""


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


def make_accelerator(options: Training) -> Accelerator:
    """The accelerator: it places models on devices and lets processes communicate."""
    if not torch.distributed.is_initialized():
        # Trainings in one process, one after the other, may differ in device and precision.
        PartialState._reset_state()
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=options.device == "cpu",
        mixed_precision="no" if options.precision == "fp32" else options.precision,
    )
    shard_checkpoints(accelerator)
    if accelerator.distributed_type == "DEEPSPEED":
        _count_for_deepspeed(accelerator, options)
    return accelerator


def _count_for_deepspeed(accelerator: Accelerator, options: Training) -> None:
    """Tell DeepSpeed what it reads from a data loader, of which there is none here.

    It clips gradients itself. Micro-batches are of any number of pairs, so it must not divide by
    their number: the loop says which is the last of a step, and weighs each by its pairs.
    """
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    config["train_micro_batch_size_per_gpu"] = 1
    config["gradient_accumulation_steps"] = 1
    config["gradient_clipping"] = options.max_grad_norm


def micro_tokens_of(options: Training, device: str) -> int:
    """Most tokens in a micro-batch on a type of device."""
    return options.micro_tokens or MICRO_TOKENS.get(device, 8192)


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
        values, held_out = _references_of_another(plan, accelerator, output, report)
    module = _module(plan, accelerator)
    scorer = _scorer(plan, accelerator, module)
    wrapped, optimizer = accelerator.prepare(module, make_optimizer(module, plan.options))
    accelerator.register_save_state_pre_hook(checkpoint.leave_out_frozen)
    if needed and reference_is_start:
        with getattr(module.model, "disable_adapter", nullcontext)():
            values, held_out = _both_references(plan, scorer, output, report)
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


def _module(plan: Plan, accelerator: Accelerator) -> SequenceLogps:
    model = _loaded(plan.folder, plan.options)
    sharded = accelerator.distributed_type in ("FSDP", "DEEPSPEED")
    # One device may not hold a sharded model; a quantized one is where it belongs.
    if not (sharded or plan.options.weights == "nf4"):
        model.to(accelerator.device)
    if sharded and "score" in plan.loss.needs:
        raise CptError(
            f"The loss {plan.loss.name!r} cannot train a sharded model; use DDP or one process."
        )
    kind = SequenceScores if "score" in plan.loss.needs else SequenceLogps
    module = kind(made_trainable(model, plan.options))
    if plan.options.router_aux_loss is not None:
        module.record_routing()
    _mention_rows_alone(module, plan, sharded=sharded)
    if plan.options.compile:
        _compile(model, compact=module.layout.compact)
    return module


def _compile(model: Any, *, compact: bool) -> None:
    """Compile the layers, unless `compact` lays their rows out again between all their parts.

    The pieces in between took 300 s to compile for two tiny layers, and were no faster.
    """
    if compact:
        log.warning(
            "train.compile: left out, as the rows of this model are padded: its layers would be "
            "compiled in many small pieces, which takes minutes and saves nothing."
        )
    else:
        compile_layers(model)


def _loaded(folder: Path, options: Training) -> Any:
    return load_model(folder, trust_remote_code=options.trust_remote_code, weights=options.weights)


def _mention_rows_alone(module: SequenceLogps, plan: Plan, *, sharded: bool) -> None:
    """Say how many rows cannot share a call; raise `CptError` if the model is sharded."""
    longest = module.layout.longest
    if longest is None:
        return
    lengths = plan.corpus.sequences.input_lengths
    alone = int((lengths > longest).sum())
    if alone and sharded:
        raise CptError(
            f"{plan.folder}: {alone} of {len(lengths)} answers must be computed one at a time, "
            "which a sharded model cannot do; train it without sharding"
            + (f", or set train.max_length to {longest}." if longest else ".")
        )
    if alone and longest:
        log.warning(
            "%d of %d answers have more than %d tokens with their prompts: what this model "
            "computes then depends on the longest row of a call, so each is computed alone.",
            alone,
            len(lengths),
            longest,
        )


def _references_of_another(
    plan: Plan, accelerator: Accelerator, output: Path, report: Report
) -> tuple[References, References | None]:
    model = _loaded(plan.reference, plan.options)
    module = SequenceLogps(model.to(accelerator.device))
    return _both_references(plan, _scorer(plan, accelerator, module), output, report)


def _both_references(
    plan: Plan, scorer: Scorer, output: Path, report: Report
) -> tuple[References, References | None]:
    """Of the pairs that are trained on, and of those that are held out."""
    held_out = _references(plan.held_out, scorer, output, report) if plan.held_out else None
    return _references(plan, scorer, output, report), held_out


def _references(plan: Plan, scorer: Scorer, output: Path, report: Report) -> References:
    """Of all sequences that are read, from the store of the reference model or into it."""
    device = scorer.accelerator.device.type
    digest = store_digest(
        plan.reference,
        _computed_in(plan.options),
        device,
        trust_remote_code=plan.options.trust_remote_code,
    )
    return references_of(plan, plan.order, scorer, open_store(output, digest), report)


def references_of(
    plan: Plan, batches: Sequence[Sequence[int]], scorer: Scorer, store: Store, report: Report
) -> References:
    """Of all sequences that are read in some batches, or whenever pairs are measured."""
    return references(plan.corpus.sequences, _read_in(plan, batches), scorer, store, report)


def _read_in(plan: Plan, batches: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Indices of those sequences, in ascending order."""
    corpus, both = plan.corpus, "rejected" in plan.loss.needs
    measured = any(phase.score for phase in plan.phases)
    pairs = np.arange(len(corpus.pairs)) if measured else _distinct(batches)
    sides = [side[pairs] for side in (corpus.chosen, *([corpus.rejected] if both else []))]
    found = np.unique(np.concatenate([*sides, _distinct(plan.mismatched)]))
    there: NDArray[np.int64] = found[found != ABSENT]
    return there


def _distinct(lists: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.fromiter(chain.from_iterable(lists), dtype=np.int64)
    return np.unique(found)


def _computed_in(options: Training) -> str:
    """What decides the values of a model, besides its weights on the disk."""
    held = "" if options.weights == "fp32" else f" of {options.weights}"
    return f"{options.precision}{held}"


def _scorer(plan: Plan, accelerator: Accelerator, module: SequenceLogps) -> Scorer:
    max_tokens = micro_tokens_of(plan.options, accelerator.device.type)
    return Scorer(accelerator=accelerator, module=module, max_tokens=max_tokens)
