"""From pairs to a trained model: order, log-probabilities, loss, step, checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import set_seed
from torch import Tensor

from cpt.errors import CptError
from cpt.models import suited_threads
from cpt.roles import Loss, Scheduler
from cpt.training.accelerator import is_sharded, make_accelerator
from cpt.training.finish import finish, read_summary
from cpt.training.forward.cpu import count_parameters
from cpt.training.loss import metrics
from cpt.training.monitoring.asked import Evaluate, refuse_unaskable
from cpt.training.monitoring.contention import Contention
from cpt.training.monitoring.interrupt import Interrupt, interruptible
from cpt.training.monitoring.watch import Watch
from cpt.training.objective import mismatched_logps, router_loss, weighted_losses
from cpt.training.optimizer.adamw import set_rate, stepping
from cpt.training.optimizer.schedule import factor
from cpt.training.options import Training
from cpt.training.phases import begin_phase, is_due, resume_phase
from cpt.training.planning.files import day_of, write_plan
from cpt.training.planning.plan import Plan, make_plan
from cpt.training.reference.scoring import max_over_processes
from cpt.training.reference_logps import Report
from cpt.training.resources.exhausted import memory_errors
from cpt.training.resources.fitting import fitted
from cpt.training.state import Cut, State, begin, save
from cpt.training.step import (
    MicroBatch,
    group_by_prompt,
    micro_batches,
    split_between_processes,
)
from cpt.types import Pair

Notify = Callable[..., None]


def _silent(event: str, /, **_: Any) -> None:
    """Without observers."""


def train(
    pairs: Sequence[Pair],
    *,
    model: Path,
    scheduler: Scheduler,
    loss: Loss,
    options: Training,
    seed: int,
    output: Path,
    held_out: Sequence[Pair] = (),
    evaluate: Evaluate | None = None,
    notify: Notify = _silent,
) -> Mapping[str, Any]:
    """Train a model on pairs in the folder `output`, from its last checkpoint if it has one.

    Writes `order.parquet`, `doctor.json`, `reference/`, `metrics.jsonl`, `checkpoints/`,
    `training.json` (what is returned) and last `model/`; if that is there, nothing is done.
    With `options.eval_every` it is measured on the pairs `held_out`, from which it never learns;
    with `options.evaluators_every`, the main process calls `evaluate` with a folder of the model as
    it is then.
    `notify` is called with the name of a hook and the arguments of that hook. Raises `CptError`
    for what the user has to fix, and `KeyboardInterrupt` once the state is saved. Every process
    of a launch calls this.
    """
    if (output / "model").exists():
        return read_summary(output)
    measured, day = held_out if options.eval_every else (), day_of(output)
    plan = make_plan(pairs, model, scheduler, loss, options, seed, held_out=measured, day=day)
    return _train(plan, output, evaluate, notify)


def _train(
    plan: Plan, output: Path, evaluate: Evaluate | None, notify: Notify
) -> Mapping[str, Any]:
    accelerator = make_accelerator(plan.options)
    if not is_sharded(accelerator):
        plan = fitted(plan, accelerator.device.type)
    if accelerator.is_main_process:
        write_plan(plan, output)
    else:
        notify = _silent
    set_seed(plan.seed)
    report = partial(notify, output=output)

    def computed(done: int, total: int) -> None:
        report("cpt_references_computed", done=done, total=total)

    with suited_threads(count_parameters(plan.folder)), memory_errors(plan, accelerator.device):
        state = begin(plan, accelerator, output, computed)
        refuse_unaskable(state)
        resume_phase(state, output)
        watch = Watch(state, output, evaluate)
        with interruptible() as interrupt:
            _steps(state, output, watch, report, interrupt, computed)
    return finish(state, output, watch)


def _steps(
    state: State,
    output: Path,
    watch: Watch,
    report: Notify,
    interrupt: Interrupt,
    scored: Report,
) -> None:
    """All steps that are left; `scored` is called as by `references`."""
    options, steps = state.plan.options, state.plan.steps
    began = time.perf_counter()
    contention = Contention() if state.accelerator.device.type == "cpu" else None
    while state.done < steps and not watch.stops:
        if is_due(state):
            begin_phase(state, output, scored)
            if state.done and options.checkpoint_every:
                report("cpt_checkpoint_saved", step=state.done, path=save(state, output))
        started = time.perf_counter()
        norm = _step(state)
        state.done += 1
        logs = state.done % options.log_every == 0 or state.done == steps
        if logs and state.accelerator.device.type == "cuda":
            torch.cuda.synchronize()  # the optimizer's time is this step's, too
        state.meter.count(steps=1, grad_norms=norm, seconds=time.perf_counter() - started)
        report("cpt_step_ended", step=state.done, steps=steps)
        if contention:
            contention.look()
        measured = watch.measure_if_due()
        if measured or logs:
            line = _log(state, output, time.perf_counter() - began, measured)
            report("cpt_metrics_logged", step=state.done, steps=steps, metrics=line)
        stop = bool(max_over_processes(state.accelerator, interrupt.asked))
        due = options.checkpoint_every and state.done % options.checkpoint_every == 0
        if stop or (due and not is_due(state)):  # a phase saves as it begins
            report("cpt_checkpoint_saved", step=state.done, path=save(state, output))
        if stop:
            raise KeyboardInterrupt


def _step(state: State) -> float:
    """One optimizer step; returns the gradient norm before clipping."""
    plan, accelerator = state.plan, state.accelerator
    rate = plan.options.learning_rate * factor(state.done, plan.steps, plan.options)
    set_rate(state.optimizer, rate)
    computed = _backward(state)
    parameters = state.wrapped_module.parameters()
    clipped = accelerator.clip_grad_norm_(parameters, plan.options.max_grad_norm)
    if state.done + 1 < plan.steps:
        state.ahead = _cut(state, state.done + 1)  # while an accelerator is still computing
    norm = float(clipped)
    _refuse_non_finite(state, computed, norm)
    process = accelerator.process_index if is_sharded(accelerator) else 0
    seed = (plan.seed, state.done, process)
    with stepping(plan.options, accelerator.device, seed):
        state.optimizer.step()
    state.optimizer.zero_grad()
    state.carried.step(plan.loss, state.own_metrics or (), accelerator)
    return norm


def _backward(state: State) -> list[tuple[MicroBatch, Tensor]]:
    """The gradient of the mean loss over all pairs; the losses by micro-batch of this process.

    Neither how the step is cut nor how many processes share it changes the gradient; but a
    router's loss is that of each micro-batch, and their mean is by tokens.
    """
    plan, accelerator = state.plan, state.accelerator
    batch = state.order[state.done]
    (groups, local), state.ahead = state.ahead or _cut(state, state.done), None
    mismatched = mismatched_logps(state)
    count = max_over_processes(accelerator, len(local))
    # All processes call the model equally often: one with fewer micro-batches computes the first
    # group of the step again, without counting it.
    repeated = groups[:1] if len(local) < count else []
    filler = micro_batches(repeated, plan.corpus, state.max_tokens, state.layout)
    read = _tokens_read(state, local)
    computed = []
    sharded = is_sharded(accelerator)  # without syncing each process would keep whole gradients
    for number in range(count):
        is_filler = number >= len(local)
        micro_batch = filler[0] if is_filler else local[number]
        last = number == count - 1
        accelerator.sync_gradients = last  # at the last one DeepSpeed takes its step
        with nullcontext() if last or sharded else accelerator.no_sync(state.wrapped_module):
            losses = weighted_losses(state, micro_batch, mismatched, is_filler=is_filler)
            # Processes average their gradients; the mean is over the pairs of all of them.
            share = 0.0 if is_filler else accelerator.num_processes / len(batch)
            objective = losses.sum() * share
            balance = router_loss(state, micro_batch, is_filler=is_filler)
            if balance is not None:
                objective = objective + balance * (accelerator.num_processes / read)
            accelerator.backward(objective)
        computed.append((micro_batch, losses.detach()))
    _count_work(state, local)
    return computed


def _cut(state: State, number: int) -> Cut:
    """The groups of a step, and the micro-batches of this process."""
    plan, accelerator, layout = state.plan, state.accelerator, state.layout
    most = state.max_tokens
    groups = group_by_prompt(state.order[number], plan.corpus, plan.loss, most, layout)
    shares = split_between_processes(groups, plan.corpus, accelerator.num_processes)
    return groups, micro_batches(shares[accelerator.process_index], plan.corpus, most, layout)


def _tokens_read(state: State, calls: Sequence[MicroBatch]) -> int:
    """Tokens that all processes read in a step, where a router's loss is weighted by them."""
    here = sum(call.inputs.tokens for call in calls)
    if not state.plan.options.router_aux_loss or state.accelerator.num_processes == 1:
        return here
    device = state.accelerator.device
    return int(state.accelerator.reduce(torch.tensor(here, device=device)))


def _count_work(state: State, calls: Sequence[MicroBatch]) -> None:
    """Count the seconds that the device would need at its peak, where that is known."""
    if state.peak is None:
        return
    sequences = state.plan.corpus.sequences
    whole = [sequences[index] for call in calls for index in call.sequences]
    exact = sum(state.work.exact(call.inputs) for call in calls)
    published = state.work.published(whole)
    state.meter.count(mfu=published / state.peak, mfu_exact=exact / state.peak)


def _refuse_non_finite(
    state: State, computed: Sequence[tuple[MicroBatch, Tensor]], norm: float
) -> None:
    """Raise `CptError` before a broken gradient reaches the weights."""
    if math.isfinite(norm) and math.isfinite(torch.cat([losses for _, losses in computed]).sum()):
        return
    by_pair = [
        (pair, loss)
        for micro_batch, losses in computed
        for pair, loss in zip(micro_batch.pairs, losses.tolist(), strict=True)
    ]
    broken = [pair for pair, loss in by_pair if not math.isfinite(loss)]
    what = "loss" if broken else "gradient"
    blamed = broken or [pair for pair, _ in by_pair]
    names = ", ".join(state.plan.corpus.facts[pair].id for pair in blamed[:8])
    more = f" and {len(blamed) - 8} more" if len(blamed) > 8 else ""
    which = "pair" if len(blamed) == 1 else "pairs"
    raise CptError(
        f"Step {state.done + 1}: the {what} is not finite for {which} {names}{more}. Nothing "
        "was learned from them, and the last checkpoint is kept; lower train.learning_rate, or "
        "drop these pairs."
    )


def _log(
    state: State, output: Path, seconds: float, measured: Mapping[str, float]
) -> dict[str, float]:
    """Write a line of metrics on the main process; every process calls this."""
    seen = sum(len(batch) for batch in state.order[: state.done])
    line = {
        "step": state.done,
        "epoch": seen / len(state.plan.corpus.pairs),
        **state.meter.means(state.accelerator),
        **measured,
        "learning_rate": float(state.optimizer.param_groups[0]["lr"]),
        "seconds": seconds,
    }
    if state.accelerator.is_main_process:
        metrics.append(output / "metrics.jsonl", line)
    return line
