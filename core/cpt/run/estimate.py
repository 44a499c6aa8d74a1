"""`--dry-run`: what a run would ask and pay, found without asking or paying."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from pathlib import Path

import attrs
import click

from cpt import paths
from cpt.asking.money.estimates import DryRun, Estimate
from cpt.asking.money.prices import Prices
from cpt.data import read_prompts
from cpt.errors import NoPair
from cpt.returns import call
from cpt.roles import Ask
from cpt.run.stage import Run, needed
from cpt.types import Prompt


def estimate(run: Run) -> dict[str, Estimate]:
    """What making the pairs would take, by the responders asked; nothing is written."""
    pairer = needed(run, "pairer")

    async def pair(prompt: Prompt, ask: Ask) -> None:
        with suppress(NoPair):  # stand-ins make no pair; what was asked for is counted all the same
            await call(pairer, pairer.pair, prompt, ask)

    return asyncio.run(_estimate(run, pair))


def estimate_responses(run: Run) -> dict[str, Estimate]:
    """What asking the responder every prompt would take; nothing is written."""
    responder = needed(run, "responder")

    async def answer(prompt: Prompt, ask: Ask) -> None:
        for sample in range(run.config.samples):
            await ask(responder, prompt, sample)

    return asyncio.run(_estimate(run, answer))


async def _estimate(
    run: Run, work: Callable[[Prompt, Ask], Awaitable[None]]
) -> dict[str, Estimate]:
    asking = run.config.asking
    own = Path(paths.resolve(asking.prices)) if asking.prices else None
    journal = run.path / "journal.sqlite"
    with DryRun(journal, prices=Prices.load(own), batch=asking.batch) as dry:
        for prompt in _prompts(run):
            await work(prompt, dry)
        return dry.estimates


def _prompts(run: Run) -> Iterator[Prompt]:
    return islice(read_prompts(needed(run, "prompts")), run.config.limit)


def tell(estimates: Mapping[str, Estimate], as_json: bool) -> None:
    """Print it: one line for each responder that is asked, and the sum."""
    total = sum(estimates.values(), Estimate())
    if as_json:
        plain = {author: attrs.asdict(estimate) for author, estimate in estimates.items()}
        click.echo(json.dumps({"estimates": plain, "total": attrs.asdict(total)}))
        return
    for author, estimate in estimates.items():
        click.echo(f"{author}  {_line(estimate)}")
    click.echo(f"in all  {_line(total)}")


def _line(estimate: Estimate) -> str:
    known = f" ({estimate.known:,} more are in the journal)" if estimate.known else ""
    about = "" if estimate.counted else "about "
    tokens = f"{about}{estimate.input_tokens:,} tokens in, likely {estimate.output_tokens:,} out"
    return f"{estimate.requests:,} requests{known}: {tokens}; {_dollars(estimate)}"


def _dollars(estimate: Estimate) -> str:
    if estimate.dollars is None:
        return "price unknown (a table of yours goes into --prices)"
    most = estimate.most_dollars
    limit = f", at most {_money(most)}" if most is not None else ""
    return f"likely {_money(estimate.dollars)}{limit}"


def _money(dollars: float) -> str:
    """Cents are too coarse for a few requests: what costs something must not look free."""
    return f"${dollars:,.2f}" if dollars >= 1 or not dollars else f"${dollars:.6f}".rstrip("0")
