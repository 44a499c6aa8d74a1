"""What a run would ask and pay, found out without asking or paying."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import attrs
import click

from cpt import paths
from cpt.asking.money.estimates import DryRun, Estimate
from cpt.asking.money.prices import Prices
from cpt.data import read_prompts
from cpt.errors import NoPair
from cpt.roles import Ask
from cpt.run.stages import Run, needed
from cpt.types import Prompt


def estimate(run: Run) -> dict[str, Estimate]:
    """What making the pairs would take, by whom it asks; nothing is written."""
    pairer = needed(run, "pairer")

    async def pair(prompt: Prompt, ask: Ask) -> None:
        try:
            await pairer.pair(prompt, ask)
        except NoPair:
            return  # Stand-ins make no pair; what was asked for them is counted all the same.

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
    source = needed(run, "prompts")
    return islice(read_prompts(paths.resolve(source)), run.config.limit)


def tell(estimates: Mapping[str, Estimate], as_json: bool) -> None:
    """Say it, one line for each who is asked, and the sum."""
    total = sum(estimates.values(), Estimate())
    if as_json:
        plain = {who: attrs.asdict(each) for who, each in estimates.items()}
        click.echo(json.dumps({"estimates": plain, "total": attrs.asdict(total)}))
        return
    for who, each in estimates.items():
        click.echo(f"{who}  {_line(each)}")
    click.echo(f"in all  {_line(total)}")


def _line(each: Estimate) -> str:
    known = f" ({each.known:,} more are in the journal)" if each.known else ""
    about = "" if each.counted else "about "
    tokens = f"{about}{each.input_tokens:,} tokens in, likely {each.output_tokens:,} out"
    return f"{each.requests:,} requests{known}: {tokens}; {_dollars(each)}"


def _dollars(each: Estimate) -> str:
    if each.dollars is None:
        return "price unknown (a table of yours goes into --prices)"
    most = f", at most {_money(each.most_dollars)}" if each.most_dollars is not None else ""
    return f"likely {_money(each.dollars)}{most}"


def _money(dollars: float) -> str:
    """Cents are too coarse for a few requests: what costs something must not look free."""
    return f"${dollars:,.2f}" if dollars >= 1 or not dollars else f"${dollars:.6f}".rstrip("0")
