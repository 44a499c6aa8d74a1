"""From pairs to a trained model: order, log-probabilities, loss, step, checkpoint."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import attrs
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import set_seed
from torch import Tensor

from cpt.errors import CptError
from cpt.files import write_text
from cpt.roles import Loss, Scheduler
from cpt.training import checkpoint, metrics
from cpt.training.export import export, model_card
from cpt.training.interrupt import Interrupt, interruptible
from cpt.training.loading import load_model, made_trainable, saved_dtype
from cpt.training.logps import SequenceLogps
from cpt.training.options import Training
from cpt.training.plan import Plan, make_plan, write_plan
from cpt.training.reference import identity, store
from cpt.training.scoring import References, Scorer, most, references
from cpt.training.step import Part, batch_of, cut, divided, grouped, weights
from cpt.types import Batch, Logps, Pair

Notify = Callable[..., None]


def _silent(moment: str, **_: Any) -> None:
    """Nobody listens."""


@attrs.frozen(kw_only=True)
class Summary:
    """What a training came to."""

    pairs: int
    """Pairs that were trained on."""
    dropped: Mapping[str, int]
    """Pairs that were not, by reason."""
    noted: Mapping[str, int]
    """Pairs that were in spite of something, by what it was."""
    steps: int
    metrics: Mapping[str, float]
    """The last line of `metrics.jsonl`."""


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
) -> Summary:
    """Train a model on pairs in the folder `output`, from its last checkpoint if it has one.

    Writes `order.parquet`, `doctor.json`, `reference/`, `metrics.jsonl`, `checkpoints/` and last
    `model/`; if that is there, nothing is done. `notify` is told the name of a moment and what a
    hook of that name is given. Raises `CptError` for what the user has to mend, and
    `KeyboardInterrupt` after the state is saved.
    """
    if (output / "model").exists():
        return Summary(**json.loads((output / "training.json").read_text(encoding="utf-8")))
    plan = make_plan(pairs, model, scheduler, loss, options, seed)
    accelerator = _accelerator(options)
    if accelerator.is_main_process:
        write_plan(plan, output)
    set_seed(seed)
    run = _begin(plan, accelerator, output)
    with interruptible() as interrupt:
        _steps(run, output, notify, interrupt)
    return _finish(run, output)


@attrs.define(eq=False, kw_only=True)
class _Run:
    """A training under way."""

    plan: Plan
    accelerator: Accelerator
    module: Any
    """The `SequenceLogps` as accelerate wrapped it."""
    scorer: Scorer
    optimizer: Any
    references: References | None
    meter: metrics.Meter
    done: int = 0
    """Optimizer steps so far."""

    @property
    def policy_is_reference(self) -> bool:
        """Nothing has been learned yet from the model that it is compared with."""
        return self.done == 0 and self.plan.reference == self.plan.folder


def _accelerator(options: Training) -> Accelerator:
    if not torch.distributed.is_initialized():
        # Trainings in one process, one after the other, may differ in device and precision.
        PartialState._reset_state()
    AcceleratorState._reset_state()
    return Accelerator(
        cpu=options.device == "cpu",
        mixed_precision="no" if options.precision == "fp32" else options.precision,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )


def _begin(plan: Plan, accelerator: Accelerator, output: Path) -> _Run:
    """Load or resume; references are computed before anything is learned."""
    found = checkpoint.latest(output / "checkpoints", plan.digest)
    own = plan.reference == plan.folder
    compared = "reference" in plan.loss.needs
    references = None
    if compared and not own:
        other = SequenceLogps(load_model(plan.reference).to(accelerator.device))
        references = _references(plan, _scorer(plan, accelerator, other), output)
    module = SequenceLogps(made_trainable(load_model(plan.folder), plan.options))
    scorer = _scorer(plan, accelerator, module)
    prepared, optimizer = accelerator.prepare(module, _optimizer(module, plan.options))
    if compared and own:
        adapter_off = getattr(module.model, "disable_adapter", nullcontext)
        with adapter_off():
            references = _references(plan, scorer, output)
    run = _Run(
        plan=plan,
        accelerator=accelerator,
        module=prepared,
        scorer=scorer,
        optimizer=optimizer,
        references=references,
        meter=metrics.Meter(),
    )
    if found:
        _resume(run, *found)
    if accelerator.is_main_process:
        metrics.keep_until(output / "metrics.jsonl", run.done)
    return run


def _resume(run: _Run, folder: Path, state: Mapping[str, Any]) -> None:
    checkpoint.load(run.accelerator, folder)
    run.done = state["step"]
    if run.accelerator.is_main_process:
        run.meter.before = state["sums"]


def _scorer(plan: Plan, accelerator: Accelerator, module: SequenceLogps) -> Scorer:
    return Scorer(accelerator=accelerator, module=module, tokens=plan.options.micro_tokens)


def _references(plan: Plan, scorer: Scorer, output: Path) -> References:
    """Of all sequences that the order comes by."""
    corpus = plan.corpus
    pairs = sorted({pair for batch in plan.order for pair in batch})
    sides = [corpus.chosen, *([corpus.rejected] if "rejected" in plan.loss.needs else [])]
    asked = {int(side[pair]) for side in sides for pair in pairs}
    places = sorted(asked.union(*plan.mismatched))
    device = scorer.accelerator.device.type
    kept = store(output, identity(plan.reference, plan.options.precision, device))
    values = references([corpus.sequences[place] for place in places], scorer, kept)
    of = dict(zip(places, values, strict=True))
    return References([of.get(place) for place in range(len(corpus.sequences))])


def _optimizer(module: torch.nn.Module, options: Training) -> torch.optim.Optimizer:
    trained = [each for each in module.parameters() if each.requires_grad]
    groups = [
        {
            "params": [each for each in trained if each.ndim >= 2],
            "weight_decay": options.weight_decay,
        },
        {"params": [each for each in trained if each.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=options.learning_rate, betas=(options.beta1, options.beta2), fused=True
    )


def _steps(run: _Run, output: Path, notify: Notify, interrupt: Interrupt) -> None:
    options, steps, main = run.plan.options, run.plan.steps, run.accelerator.is_main_process
    begun = time.perf_counter()
    while run.done < steps:
        started = time.perf_counter()
        norm = _step(run)
        run.done += 1
        run.meter.count(steps=1, grad_norms=norm, seconds=time.perf_counter() - started)
        line: dict[str, float] = {}
        if run.done % options.log_every == 0 or run.done == steps:
            line = _line(run, time.perf_counter() - begun)
            if main:
                metrics.append(output / "metrics.jsonl", line)
        if main:
            notify("cpt_step_ended", output=output, step=run.done, steps=steps, metrics=line)
        stop = bool(most(run.accelerator, interrupt.asked))
        if stop or (options.checkpoint_every and run.done % options.checkpoint_every == 0):
            _save(run, output, notify)
        if stop:
            raise KeyboardInterrupt


def _step(run: _Run) -> float:
    """One optimizer step; returns the length of the gradient before it was shortened."""
    plan, accelerator = run.plan, run.accelerator
    batch = plan.order[run.done]
    groups = grouped(batch, plan.corpus, plan.loss, plan.options.micro_tokens)
    share = divided(groups, plan.corpus, accelerator.num_processes)[accelerator.process_index]
    layout = run.scorer.module.layout
    parts = cut(share, plan.corpus, plan.options.micro_tokens, layout)
    mismatched = _mismatched(run)
    count = most(accelerator, len(parts))
    # A process with fewer parts computes one more that counts nothing: all wait for all.
    spare = cut(groups[:1], plan.corpus, plan.options.micro_tokens, layout)
    seen: list[tuple[Part, Tensor]] = []
    for at in range(count):
        part, counts = (parts[at], 1.0) if at < len(parts) else (spare[0], 0.0)
        last = at == count - 1
        with nullcontext() if last else accelerator.no_sync(run.module):
            losses = _losses(run, part, mismatched, counts)
            # Processes average their gradients, but the mean is over all their pairs.
            share_of_all = counts * accelerator.num_processes / len(batch)
            accelerator.backward(losses.sum() * share_of_all)
        seen.append((part, losses.detach()))
    rate = plan.options.learning_rate * _factor(run.done, plan.steps, plan.options)
    for group in run.optimizer.param_groups:
        group["lr"] = rate
    norm = float(accelerator.clip_grad_norm_(run.module.parameters(), plan.options.max_grad_norm))
    _refuse_non_finite(run, seen, norm)
    run.optimizer.step()
    run.optimizer.zero_grad()
    return norm


def _losses(run: _Run, part: Part, mismatched: Logps | None, counts: float) -> Tensor:
    """The weighted loss of each pair of a part. Shape (pairs,)."""
    plan, accelerator = run.plan, run.accelerator
    with accelerator.autocast():
        flat = run.module(part.micro.to(accelerator.device))
    batch = batch_of(
        part,
        flat,
        _reference(run, part, flat),
        plan.corpus,
        plan.loss,
        progress=run.done / max(1, plan.steps - 1),
        mismatched=mismatched,
    )
    pairs = [plan.corpus.pairs[place] for place in part.pairs]
    losses = _checked(plan.loss, batch, len(pairs)) * weights(pairs, flat.device)
    values = metrics.per_pair(losses.detach(), batch, plan.loss)
    run.meter.add({name: each * counts for name, each in values.items()})
    rows = [plan.corpus.sequences[place] for place in part.sequences]
    run.meter.count(
        pairs=counts * len(pairs),
        tokens=counts * sum(row.inputs for row in rows),
        slots=counts * part.micro.size,
    )
    return losses


def _checked(loss: Loss, batch: Batch, pairs: int) -> Tensor:
    losses = loss(batch)
    if losses.shape != (pairs,):
        raise CptError(
            f"Loss {loss.name!r} returned shape {tuple(losses.shape)} for {pairs} pairs; "
            f"it must return one number for each: ({pairs},)."
        )
    return losses


def _reference(run: _Run, part: Part, flat: Tensor) -> Tensor | None:
    """Log-probabilities under the reference, token by token like `flat`."""
    if run.references is None:
        return None
    kept = run.references.flat(part.sequences, flat.device)
    if not run.policy_is_reference:
        return kept
    # Two layouts of the same rows round differently; here policy and reference are one model.
    policy = flat.detach()
    if (apart := float((policy - kept).abs().mean())) > STALE:
        raise CptError(
            f"The reference log-probabilities are not those of {run.plan.reference} (off by "
            f"{apart:.2g} a token); delete the folder reference/ of the run and of the cache."
        )
    return policy


STALE = 0.2
"""Nats a token by which rounding in bf16 never moves the mean."""


def _mismatched(run: _Run) -> Logps | None:
    """Each prompt of the step with another's answer, over all processes. Shape (batch,)."""
    if "mismatched" not in run.plan.loss.needs:
        return None
    accelerator, sequences = run.accelerator, run.plan.corpus.sequences
    places = run.plan.mismatched[run.done]
    mine = range(accelerator.process_index, len(places), accelerator.num_processes)
    rows = [sequences[places[at]] for at in mine]
    policy = torch.zeros(len(places), device=accelerator.device)
    for at, values in zip(mine, run.scorer.score(rows, sequences[places[0]]), strict=True):
        policy[at] = float(values.sum())
    policy = accelerator.reduce(policy)
    reference = None
    if run.references is not None:
        kept = [float(run.references.values[place].sum()) for place in places]  # type: ignore[union-attr]
        reference = torch.tensor(kept, device=accelerator.device)
    lengths = [len(sequences[place].answer) for place in places]
    return Logps(
        policy=policy,
        length=torch.tensor(lengths, device=accelerator.device),
        reference=policy if reference is not None and run.policy_is_reference else reference,
    )


def _refuse_non_finite(run: _Run, seen: Sequence[tuple[Part, Tensor]], norm: float) -> None:
    """Raise `CptError` before a broken gradient reaches the weights."""
    broken = [
        place
        for part, losses in seen
        for place, value in zip(part.pairs, losses.tolist(), strict=True)
        if not math.isfinite(value)
    ]
    if not broken and math.isfinite(norm):
        return
    what = "loss" if broken else "gradient"
    places = broken or [place for part, _ in seen for place in part.pairs]
    names = ", ".join(run.plan.corpus.pairs[place].id for place in places[:8])
    more = f" and {len(places) - 8} more" if len(places) > 8 else ""
    raise CptError(
        f"Step {run.done + 1}: the {what} is not finite for {names}{more}. The weights are as "
        f"before the step; lower train.learning_rate, or drop these pairs."
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


def _line(run: _Run, seconds: float) -> dict[str, float]:
    means = run.meter.means(run.accelerator)
    seen = sum(len(batch) for batch in run.plan.order[: run.done])
    return {
        "step": run.done,
        "epoch": seen / len(run.plan.corpus.pairs),
        **means,
        "learning_rate": run.optimizer.param_groups[0]["lr"],
        "seconds": seconds,
    }


def _save(run: _Run, output: Path, notify: Notify) -> None:
    state = {"digest": run.plan.digest, "sums": run.meter.fold(run.accelerator)}
    if not run.accelerator.is_main_process:
        run.meter.before = {}
    keep = run.plan.options.keep_checkpoints
    path = checkpoint.save(run.accelerator, output / "checkpoints", run.done, state, keep)
    if run.accelerator.is_main_process:
        notify("cpt_checkpoint_saved", output=output, step=run.done, path=path)


def _finish(run: _Run, output: Path) -> Summary:
    plan = run.plan
    lines = metrics.read(output / "metrics.jsonl")
    noted = {
        name: count for name, count in plan.report.counts.items() if name not in plan.report.refused
    }
    summary = Summary(
        pairs=plan.report.kept,
        dropped=plan.report.refused,
        noted=noted,
        steps=plan.steps,
        metrics=lines[-1],
    )
    if run.accelerator.is_main_process:
        write_text(output / "training.json", json.dumps(attrs.asdict(summary), indent=1))
    export(
        run.accelerator,
        run.module,
        plan.tokenizer,
        output,
        dtype=saved_dtype(plan.folder),
        card=model_card(plan, summary.metrics),
    )
    run.accelerator.free_memory()
    return summary
