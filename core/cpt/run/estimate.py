"""`--dry-run`: what a run would ask, pay and train, found without doing any of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from cpt import paths
from cpt.asking.money.estimates import DryRun, Estimate
from cpt.asking.money.prices import Prices
from cpt.data import read_pairs, read_prompts
from cpt.data.pairs import pairs_and_unusable
from cpt.errors import CptError, NoPair
from cpt.roles import Ask
from cpt.roles.returns import call
from cpt.run.stage import Run, require_option
from cpt.types import Pair, Prompt

if TYPE_CHECKING:  # slow to import
    from cpt.training.resources.estimate import TrainingEstimate


def estimate(run: Run) -> dict[str, Estimate]:
    """What making the pairs would take, by the responders asked; nothing is written."""
    pairer = require_option(run, "pairer")

    async def pair(prompt: Prompt, ask: Ask) -> None:
        with suppress(NoPair):  # stand-ins make no pair; what was asked for is counted all the same
            await call(pairer, pairer.pair, prompt, ask)

    return asyncio.run(_estimate(run, pair))


def estimate_responses(run: Run) -> dict[str, Estimate]:
    """What asking the responder every prompt would take; nothing is written."""
    responder = require_option(run, "responder")

    async def answer(prompt: Prompt, ask: Ask) -> None:
        for sample in range(run.config.samples):
            await ask(responder, prompt, sample)

    return asyncio.run(_estimate(run, answer))


def estimate_training(run: Run) -> TrainingEstimate:
    """What training on the pairs would take; nothing is written, and no model is loaded."""
    from cpt.training.plan import make_plan
    from cpt.training.resources.estimate import estimate as estimate_plan

    model = Path(paths.resolve(require_option(run, "model")))
    config = run.config
    pairs = list(_pairs(run))
    plan = make_plan(pairs, model, config.scheduler, config.loss, config.train, config.seed)
    return estimate_plan(plan)


def _pairs(run: Run) -> Iterator[Pair]:
    if run.config.pairs:
        return (each for each in pairs_and_unusable(run.config.pairs) if isinstance(each, Pair))
    if run.folder.is_done("pairs"):
        return iter(read_pairs(run.path / "pairs.parquet"))
    raise CptError(f"{run.path}: no pairs yet; run `cpt pair` first, or give --pairs.")


async def _estimate(
    run: Run, work: Callable[[Prompt, Ask], Awaitable[None]]
) -> dict[str, Estimate]:
    asking = run.config.asking
    own = Path(paths.resolve(asking.prices)) if asking.prices else None
    with DryRun(
        run.journal, prices=Prices.load(own), batch=asking.batch, again=asking.again
    ) as dry:
        for prompt in _prompts(run):
            await work(prompt, dry)
        return dry.estimates


def _prompts(run: Run) -> Iterator[Prompt]:
    return islice(read_prompts(require_option(run, "prompts")), run.config.limit)
