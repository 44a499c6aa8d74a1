"""`--dry-run`: what a run would ask and pay, found without asking or paying."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from cpt import paths
from cpt.asking.money.estimates import DryRun, Estimate
from cpt.asking.money.prices import Prices
from cpt.data import read_prompts
from cpt.errors import NoPair
from cpt.roles import Ask
from cpt.roles.returns import call
from cpt.run.stage import Run, require_option
from cpt.types import Prompt


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
