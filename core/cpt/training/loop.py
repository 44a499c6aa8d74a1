"""From pairs to a trained model: order, log-probabilities, loss, step, checkpoint."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor

from cpt.errors import CptError
from cpt.files import write_text
from cpt.models import suited_threads
from cpt.roles import Loss, Scheduler
from cpt.training import metrics
from cpt.training.forward.cpu import count_weights
from cpt.training.interrupt import Interrupt, interruptible
from cpt.training.objective import mismatched_logps, weighted_losses
from cpt.training.options import Training
from cpt.training.output.export import export
from cpt.training.plan import make_plan, write_plan
from cpt.training.reference.scoring import most
from cpt.training.state import State, begin, make_accelerator, save
from cpt.training.step import Part, cut, divided, grouped
from cpt.types import Pair

Notify = Callable[..., None]


def _silent(event: str, /, **_: Any) -> None:
    """Nobody listens."""


def train(
    pairs: Sequence[Pair],
    *,
    model: Path,
    scheduler: Scheduler,
    loss: Loss,
    options: Training,
    seed: int,
    output: Path,
    notify: Notify = _silent,
) -> Mapping[str, Any]:
    """Train a model on pairs in the folder `output`, from its last checkpoint if it has one.

    Writes `order.parquet`, `doctor.json`, `reference/`, `metrics.jsonl`, `checkpoints/`,
    `training.json` (what is returned) and last `model/`; if that is there, nothing is done.
    `notify` is called with the name of a hook and what that hook is given; `cpt_step_ended` gets
    metrics only for steps that are logged. Raises `CptError` for what the user has to mend, and
    `KeyboardInterrupt` once the state is saved. Every process of a launch calls this.
    """
    if (output / "model").exists():
        return _read_summary(output)
    plan = make_plan(pairs, model, scheduler, loss, options, seed)
    accelerator = make_accelerator(options)
    if accelerator.is_main_process:
        write_plan(plan, output)
    set_seed(seed)
    with suited_threads(count_weights(plan.folder)):
        state = begin(plan, accelerator, output)
        with interruptible() as interrupt:
            _steps(state, output, notify, interrupt)
    return _finish(state, output)


def _steps(state: State, output: Path, notify: Notify, interrupt: Interrupt) -> None:
    options, steps, main = state.plan.options, state.plan.steps, state.accelerator.is_main_process
    begun = time.perf_counter()
    while state.done < steps:
        started = time.perf_counter()
        norm = _step(state)
        state.done += 1
        state.meter.count(steps=1, grad_norms=norm, seconds=time.perf_counter() - started)
        line: dict[str, float] = {}
        if state.done % options.log_every == 0 or state.done == steps:
            line = _line(state, time.perf_counter() - begun)
            if main:
                metrics.append(output / "metrics.jsonl", line)
        if main:
            notify("cpt_step_ended", output=output, step=state.done, steps=steps, metrics=line)
        stop = bool(most(state.accelerator, interrupt.asked))
        if stop or (options.checkpoint_every and state.done % options.checkpoint_every == 0):
            path = save(state, output)
            if main:
                notify("cpt_checkpoint_saved", output=output, step=state.done, path=path)
        if stop:
            raise KeyboardInterrupt


def _step(state: State) -> float:
    """One optimizer step; returns the length of the gradient before it was shortened."""
    plan, accelerator = state.plan, state.accelerator
    rate = plan.options.learning_rate * _factor(state.done, plan.steps, plan.options)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    seen = _backward(state)
    parameters = state.module.parameters()
    norm = float(accelerator.clip_grad_norm_(parameters, plan.options.max_grad_norm))
    _refuse_non_finite(state, seen, norm)
    state.optimizer.step()
    state.optimizer.zero_grad()
    return norm


def _backward(state: State) -> list[tuple[Part, Tensor]]:
    """The gradient of the mean loss over all pairs of the step; parts and losses of this process.

    Neither how the step is cut into parts nor how many processes share it changes the gradient.
    """
    plan, accelerator, layout = state.plan, state.accelerator, state.scorer.module.layout
    batch, tokens = plan.order[state.done], state.scorer.tokens
    groups = grouped(batch, plan.corpus, plan.loss, tokens, layout)
    share = divided(groups, plan.corpus, accelerator.num_processes)[accelerator.process_index]
    parts = cut(share, plan.corpus, tokens, layout)
    mismatched = mismatched_logps(state)
    count = most(accelerator, len(parts))
    # All processes go through the model equally often: one with fewer parts repeats the first
    # group of the step, and counts it nothing.
    spare = cut(groups[:1], plan.corpus, tokens, layout) if len(parts) < count else []
    seen = []
    for at in range(count):
        part, counts = (parts[at], True) if at < len(parts) else (spare[0], False)
        last = at == count - 1
        with nullcontext() if last else accelerator.no_sync(state.module):
            losses = weighted_losses(state, part, mismatched, counts=counts)
            # Processes average their gradients; the mean is over the pairs of all of them.
            accelerator.backward(losses.sum() * (counts * accelerator.num_processes / len(batch)))
        seen.append((part, losses.detach()))
    return seen


def _refuse_non_finite(state: State, seen: Sequence[tuple[Part, Tensor]], norm: float) -> None:
    """Raise `CptError` before a broken gradient reaches the weights."""
    if math.isfinite(norm) and math.isfinite(torch.cat([losses for _, losses in seen]).sum()):
        return
    by_place = [
        (place, loss)
        for part, losses in seen
        for place, loss in zip(part.pairs, losses.tolist(), strict=True)
    ]
    broken = [place for place, loss in by_place if not math.isfinite(loss)]
    what = "loss" if broken else "gradient"
    places = broken or [place for place, _ in by_place]
    names = ", ".join(state.plan.corpus.pairs[place].id for place in places[:8])
    more = f" and {len(places) - 8} more" if len(places) > 8 else ""
    raise CptError(
        f"Step {state.done + 1}: the {what} is not finite for {names}{more}. Nothing was learned "
        "from them, and the last checkpoint stands; lower train.learning_rate, or drop these pairs."
    )


def _factor(step: int, steps: int, options: Training) -> float:
    """What the learning rate is multiplied by; the first step is 0."""
    warmup = round(options.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    left = (steps - step) / (steps - warmup)
    if options.schedule == "linear":
        return left
    return (1 - math.cos(math.pi * left)) / 2 if options.schedule == "cosine" else 1.0


def _line(state: State, seconds: float) -> dict[str, float]:
    seen = sum(len(batch) for batch in state.plan.order[: state.done])
    return {
        "step": state.done,
        "epoch": seen / len(state.plan.corpus.pairs),
        **state.meter.means(state.accelerator),
        "learning_rate": state.optimizer.param_groups[0]["lr"],
        "seconds": seconds,
    }


def _finish(state: State, output: Path) -> Mapping[str, Any]:
    plan, accelerator = state.plan, state.accelerator
    accelerator.wait_for_everyone()  # until the last line is written
    last = metrics.read(output / "metrics.jsonl")[-1]
    if accelerator.is_main_process:
        summary = {
            "pairs": plan.report.kept,
            "dropped": plan.report.refused,
            "noted": plan.report.noted,
            "steps": plan.steps,
            "metrics": last,
        }
        write_text(output / "training.json", json.dumps(summary, indent=1))
    export(accelerator, state.module, plan, output, metrics=last)
    accelerator.free_memory()
    return _read_summary(output)


def _read_summary(output: Path) -> Mapping[str, Any]:
    summary: dict[str, Any] = json.loads((output / "training.json").read_text(encoding="utf-8"))
    return summary
