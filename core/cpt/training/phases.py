"""Parts of a training that begin with a look at the model: its scores, or a new reference."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from cpt.errors import CptError
from cpt.training.monitoring.measuring import measure_each
from cpt.training.planning.files import write_order
from cpt.training.planning.order import order_of
from cpt.training.planning.plan import Plan
from cpt.training.reference.scoring import References
from cpt.training.reference.store import Store
from cpt.training.reference_logps import Report, references_of
from cpt.training.state import State


def is_due(state: State) -> bool:
    """Whether a phase that has not begun yet begins with the next step."""
    number = len(state.scores)
    return number < len(state.plan.phases) and state.done == _ends(state.plan)[number]


def begin_phase(state: State, output: Path, report: Report) -> None:
    """Measure the pairs, order what follows, renew the reference. Every process calls this.

    `report` is called as by `references`. Raises `CptError` if a score is not finite, or if the
    scheduler changes what has been trained on.
    """
    number, everything = len(state.scores), len(state.plan.corpus.pairs)
    metric = state.plan.phases[number].score
    state.scores.append(measure_each(state, metric, everything) if metric else [])
    done = state.order[: state.done]
    state.order, state.ahead = _ordered(state), None
    if state.order[: state.done] != done:
        raise CptError(
            f"Scheduler {state.plan.scheduler.name!r} gives other batches for the first "
            f"{state.done} steps now that they are done; `ordered` must leave them as they were."
        )
    if _renews(state.plan, number):
        _forget(state, _store(state.plan, number, output))
        _renew(state, number, output, report)
    _write(state, output)


def resume_phase(state: State, output: Path) -> None:
    """Go on in the phase of a checkpoint. Raises `CptError` if its reference is gone."""
    if not state.scores:
        for metric in sorted({phase.score for phase in state.plan.phases} - {""}):
            measure_each(state, metric, 1)  # a loss without it is refused now, not in the middle
        return

    def missing(done: int, total: int) -> None:
        raise CptError(
            f"{output / 'reference'}: values of the model that this phase began with are missing, "
            f"and it is no longer there; delete {output / 'checkpoints'} to start again."
        )

    state.order = _ordered(state)
    renewals = [number for number in range(len(state.scores)) if _renews(state.plan, number)]
    if renewals:
        _renew(state, renewals[-1], output, missing)
    _write(state, output)


def _ends(plan: Plan) -> list[int]:
    """The step after which each phase begins, and last the number of all steps."""
    return [0, *accumulate(phase.steps for phase in plan.phases)]


def _renews(plan: Plan, number: int) -> bool:
    return plan.phases[number].refresh and "reference" in plan.loss.needs


def _ordered(state: State) -> list[list[int]]:
    """All batches, given what is known now. Raises `CptError`."""
    plan = state.plan
    begun = [*state.scores, *([] for _ in plan.phases[len(state.scores) :])]
    scores = [measured or [0.0] * len(plan.corpus.pairs) for measured in begun]
    order = order_of(plan.corpus.pairs, plan.scheduler, plan.options, plan.seed, scores)
    if len(order) != plan.steps:
        raise CptError(
            f"Scheduler {plan.scheduler.name!r} gives {len(order)} batches once it knows the "
            f"scores, and gave {plan.steps} before; their number must not depend on scores."
        )
    return order


def _renew(state: State, number: int, output: Path, report: Report) -> None:
    """Make the model that a phase begins with the reference."""
    plan, ends = state.plan, _ends(state.plan)
    later = range(number + 1, len(plan.phases))
    until = next((ends[other] for other in later if _renews(plan, other)), plan.steps)
    store = _store(plan, number, output)

    def values(of: Plan, batches: Sequence[Sequence[int]]) -> References:
        return references_of(of, batches, state.scorer, store, report)

    state.references = values(plan, state.order[ends[number] : until])
    if plan.held_out:
        state.held_out_references = values(plan.held_out, plan.held_out.order[:1])
    state.reference_step = ends[number]


def _store(plan: Plan, number: int, output: Path) -> Store:
    """Of this run alone: no other has the same model in the middle of its training."""
    digest = hashlib.blake2b(f"{plan.digest}\n{number}".encode(), digest_size=16).hexdigest()
    return Store(run=output / "reference" / digest, cache=None)


def _forget(state: State, store: Store) -> None:
    """Drop what an attempt left that was killed behind this step: its model may differ a little."""
    if state.accelerator.is_main_process:
        shutil.rmtree(store.run, ignore_errors=True)
    state.accelerator.wait_for_everyone()


def _write(state: State, output: Path) -> None:
    """The order so far, on the main process."""
    if not state.accelerator.is_main_process:
        return
    plan, unknown = state.plan, [None] * len(state.plan.corpus.pairs)
    begun = zip(plan.phases, state.scores, strict=False)
    scores = [measured or unknown for phase, measured in begun for _ in range(phase.steps)]
    known = scores if any(state.scores) else ()
    write_order(plan, state.order[: len(scores)], output, known)
