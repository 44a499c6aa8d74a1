"""`--dry-run`: what a run would ask, pay and train, found without doing any of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import attrs

from cpt import paths
from cpt.asking.money.estimates import TYPICAL, DryRun, Estimate
from cpt.asking.money.prices import Prices
from cpt.data import read_prompts, write_pairs
from cpt.data.pairs import pairs_and_unusable
from cpt.errors import CptError, NoPair
from cpt.roles import Ask, LossChoice
from cpt.roles.returns import call
from cpt.run.dry_evaluation import ask_of_all, ask_of_one, not_counted
from cpt.run.spool import Spool
from cpt.run.stage import Run, require_option
from cpt.run.stages.filtering import filtered
from cpt.run.stages.holdout import split, with_holdout
from cpt.run.stages.pairing import made_of
from cpt.run.stages.taking import TAKEN
from cpt.run.stages.training import as_asked
from cpt.types import Pair, Prompt, Response

if TYPE_CHECKING:  # slow to import
    from cpt.training.planning.plan import Plan
    from cpt.training.resources.estimate import TrainingEstimate


def estimate(run: Run) -> dict[str, Estimate]:
    """What a whole run would ask, from its pairs to its scores; nothing is written."""

    async def work(ask: DryRun) -> None:
        if run.config.pairs is None:
            await _pair_all(run, ask)
        await _take_loss(run, _pairs_or_stand_ins(run), ask)
        if run.config.train.evaluators:
            await _measure(run, _steps(run), ask)
        await ask_of_all(run, ask)

    return asyncio.run(_estimate(run, work))


def estimate_scores(run: Run) -> dict[str, Estimate]:
    """What measuring the models would ask; nothing is written."""
    return asyncio.run(_estimate(run, lambda ask: ask_of_all(run, ask)))


def estimate_measuring(run: Run, steps: int) -> dict[str, Estimate]:
    """What `train.evaluators` would ask in a training of so many steps; nothing is written."""
    if not run.config.train.evaluators:
        return {}
    return asyncio.run(_estimate(run, lambda ask: _measure(run, steps, ask)))


def uncounted(run: Run, *, training: bool = True, scores: bool = True) -> list[str]:
    """The evaluators of which nobody knows what they would ask, in a training and at its end."""
    runs = [as_asked(run)] * training + [run] * scores
    return list(dict.fromkeys(name for one in runs for name in not_counted(one)))


def estimate_pairs(run: Run) -> dict[str, Estimate]:
    """What making the pairs would ask; nothing is written."""
    return asyncio.run(_estimate(run, lambda ask: _pair_all(run, ask)))


def estimate_loss(run: Run) -> dict[str, Estimate]:
    """What taking the loss before training would ask: nothing but for one as `auto`."""
    if not isinstance(run.config.loss, LossChoice):
        return {}
    with trained_pairs(run) as pairs:
        return asyncio.run(_estimate(run, lambda ask: _take_loss(run, pairs, ask)))


async def _pair_all(run: Run, ask: Ask) -> None:
    pairer = require_option(run, "pairer")
    for prompt in _prompts(run):
        with suppress(NoPair):  # stand-ins make no pair; what was asked for is counted all the same
            await call(pairer, pairer.pair, prompt, ask)


async def _take_loss(run: Run, pairs: Iterable[Pair], ask: Ask) -> None:
    loss = run.config.loss
    if not isinstance(loss, LossChoice) or (run.path / TAKEN).exists():
        return
    model = paths.resolve(require_option(run, "model"))
    student = require_option(run, "generator").with_options(model=model)
    with suppress(CptError, NoPair):  # stand-ins say nothing that a judge would have said
        await loss.choose(list(pairs), student, ask)


async def _measure(run: Run, steps: int, ask: DryRun) -> None:
    """Ask as `train.evaluators` would: for two measurements, of which the second is any other."""
    times = -(-steps // (run.config.train.evaluators_every or steps or 1))
    for number in range(min(times, 2)):
        before = dict(ask.estimates)
        await ask_of_one(as_asked(run), f"measurement-{number}", ask)
    if times > 2:
        ask.repeat(before, times - 2)


def _steps(run: Run) -> int:
    if _has_pairs(run):
        with trained_pairs(run) as pairs:
            return _plan(run, pairs).steps
    return _plan(run, list(_stand_ins(run))).steps


def estimate_responses(run: Run) -> dict[str, Estimate]:
    """What asking the responder every prompt would take; nothing is written."""
    responder = require_option(run, "responder")

    async def answer(ask: Ask) -> None:
        for prompt in _prompts(run):
            for sample in range(run.config.samples):
                await ask(responder, prompt, sample)

    return asyncio.run(_estimate(run, answer))


def estimate_training(run: Run) -> TrainingEstimate:
    """What training on the pairs would take, without those that filters drop or that are held out.

    Nothing is written, and the model is not loaded.
    """
    from cpt.training.resources.estimate import estimate as estimate_plan

    with trained_pairs(run) as pairs:
        return estimate_plan(_plan(run, pairs))


def _plan(run: Run, pairs: Sequence[Pair]) -> Plan:
    from cpt.training.planning.plan import make_plan

    model = Path(paths.resolve(require_option(run, "model")))
    config = run.config
    return make_plan(pairs, model, config.scheduler, config.loss, config.train, config.seed)


@contextmanager
def trained_pairs(run: Run) -> Iterator[Sequence[Pair]]:
    """The pairs that a training would see, on the disk. Raises `CptError` if there are none."""
    from cpt.data.stored import StoredPairs

    run = with_holdout(run)
    table = run.path / "pairs.parquet"
    with TemporaryDirectory() as folder:
        if run.config.pairs:
            table = _filtered(run, Path(folder))
        elif not run.folder.is_done("pairs"):
            raise CptError(f"{run.path}: no pairs yet; run `cpt pair` first, or give --pairs.")
        yield split(StoredPairs.of(table), run.config.holdout or 0.0)[0]


def _filtered(run: Run, folder: Path) -> Path:
    """A table of what the filters leave of the given pairs."""
    given = (made_of(found) for found in pairs_and_unusable(require_option(run, "pairs")))
    left, emptied = filtered(run.config.filters, Spool.of(given, folder), folder)
    if emptied:
        raise CptError(f"--pairs {run.config.pairs}: {emptied}.")
    table = folder / "pairs.parquet"
    write_pairs(table, (pair for made in left for pair in made.pairs))
    left.close()
    return table


def _has_pairs(run: Run) -> bool:
    return bool(run.config.pairs) or run.folder.is_done("pairs")


def _pairs_or_stand_ins(run: Run) -> Iterator[Pair]:
    """The pairs, or stand-ins where they are not made yet."""
    if not _has_pairs(run):
        yield from _stand_ins(run)
        return
    with trained_pairs(run) as pairs:
        yield from pairs


def _stand_ins(run: Run) -> Iterator[Pair]:
    """A pair of likely length for each prompt."""
    for prompt in _prompts(run):
        answer = Response(prompt_id=prompt.id, text="word " * TYPICAL, author="")
        yield Pair(prompt=prompt, chosen=answer, rejected=attrs.evolve(answer, text="-"))


async def _estimate(run: Run, work: Callable[[DryRun], Awaitable[None]]) -> dict[str, Estimate]:
    asking = run.config.asking
    own = Path(paths.resolve(asking.prices)) if asking.prices else None
    with DryRun(
        run.journal, prices=Prices.load(own), batch=asking.batch, again=asking.again
    ) as dry:
        await work(dry)
        return dry.estimates


def _prompts(run: Run) -> Iterator[Prompt]:
    return islice(read_prompts(require_option(run, "prompts")), run.config.limit)
