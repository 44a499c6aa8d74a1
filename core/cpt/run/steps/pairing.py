"""From prompts to pairs: every prompt ends with a recorded outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import attrs

from cpt import paths
from cpt.asking import in_order
from cpt.data import each_pair, read_prompts, write_prompts, writing_pairs
from cpt.errors import CptError, NoPair, Stopped, during
from cpt.files import clear, writing_lines
from cpt.roles import Ask, Pairer
from cpt.run.asker import asker
from cpt.run.stages import Run, Summary, needed
from cpt.types import Pair, Prompt

KEPT = "kept"
PAIRS, OUTCOMES = "pairs.parquet", "outcomes.jsonl"


@attrs.frozen
class PromptOutcome:
    """What became of one prompt."""

    prompt_id: str
    outcome: str
    """`kept` if it gave a pair, else why it gave none."""
    pairs: int = 0
    detail: str = ""
    raw: str = ""
    """The text that was refused, whole."""
    dropped: tuple[tuple[str, str], ...] = ()
    """Pairs that were not kept: (pair id, reason)."""


async def pair_one(pairer: Pairer, prompt: Prompt, ask: Ask) -> tuple[list[Pair], PromptOutcome]:
    """The sound pairs of one prompt, and its outcome."""
    try:
        with during(f"the pairer {pairer.name!r} made pairs of prompt {prompt.id!r}"):
            pairs = await pairer.pair(prompt, ask)
            made = [attrs.evolve(pair, pairer=pairer.name) for pair in pairs]
    except NoPair as none:
        return [], PromptOutcome(prompt.id, none.reason, detail=none.detail, raw=none.raw)
    faults = [(pair, fault_of(pair)) for pair in _with_own_ids(made)]
    kept = [pair for pair, fault in faults if not fault]
    dropped = tuple((pair.id, fault) for pair, fault in faults if fault)
    outcome = KEPT if kept else dropped[0][1] if dropped else "no_pair"
    return kept, PromptOutcome(prompt.id, outcome, len(kept), dropped=dropped)


def fault_of(pair: Pair) -> str:
    """Why a pair cannot teach anything, or nothing."""
    chosen, rejected = pair.chosen.text.strip(), pair.rejected.text.strip()
    if not chosen or not rejected:
        return "empty"
    return "identical" if chosen == rejected else ""


def _with_own_ids(pairs: Iterable[Pair]) -> Iterator[Pair]:
    """Pairs by the same two authors, told apart by a number."""
    seen: Counter[str] = Counter()
    for pair in pairs:
        seen[pair.id] += 1
        count = seen[pair.id]
        yield pair if count == 1 else attrs.evolve(pair, id=f"{pair.id}#{count}")


def read_in(run: Run) -> Summary:
    """Stage `prompts`: whatever the source, the same table in the folder."""
    source = needed(run, "prompts")
    prompts = islice(read_prompts(paths.resolve(source)), run.config.limit)
    return {"prompts": write_prompts(run.path / "prompts.parquet", prompts)}


def make(run: Run) -> Summary:
    """Stage `pairs`: ask, pair, and keep the outcome of every prompt in `outcomes.jsonl`."""
    if run.config.pairs:
        return _take(run, each_pair(paths.resolve(run.config.pairs)))
    pairer = needed(run, "pairer")
    return asyncio.run(_make(run, pairer))


def _take(run: Run, pairs: Iterable[Pair]) -> Summary:
    """Pairs that someone else made, the unsound ones counted and left out."""
    kept, dropped = 0, Counter[str]()
    with writing_pairs(run.path / PAIRS) as write:
        for pair in pairs:
            if fault := fault_of(pair):
                dropped[fault] += 1
            else:
                write(pair)
                kept += 1
        if not kept:
            raise CptError(f"--pairs {run.config.pairs}: no usable pair ({_listed(dropped)}).")
    return {"pairs": kept, "dropped": dict(dropped)}


async def _make(run: Run, pairer: Pairer) -> Summary:
    with writing_pairs(run.path / PAIRS) as write:
        counts, unfinished = await _ask(run, pairer, write)
        if over := counts.outcomes["over_budget"]:
            raise Stopped(
                f"{run.path}: the budget is used up with {over} of "
                f"{counts.outcomes.total()} prompts left. Every answer is kept: the same command "
                "with a larger --budget goes on."
            )
        if not counts.pairs:
            raise CptError(f"{run.path}: no prompt gave a pair ({counts.why_none}).")
    return counts.plain() | ({"unfinished": unfinished} if unfinished else {})


async def _ask(run: Run, pairer: Pairer, write: Callable[[Pair], None]) -> tuple[Counts, int]:
    """Pair every prompt, in order, and write what comes of it; also how many are unfinished."""
    prompts = read_prompts(run.path / "prompts.parquet", checked=True)
    total = run.folder.stage("prompts")["summary"]["prompts"]
    at_once, counts = run.config.asking.under_way, Counts()
    async with asker(run, "pairs", total) as ask:
        for name in (PAIRS, OUTCOMES):
            clear(run.path / name)  # only now: the journal is held by one process at a time
        with writing_lines(run.path / OUTCOMES) as write_line:
            made = in_order(prompts, lambda one: pair_one(pairer, one, ask), at_once)
            async for kept, outcome in made:
                for pair in kept:
                    write(pair)
                write_line(attrs.asdict(outcome))
                counts.add(outcome)
                ask.advance()
    return counts, ask.stats.unfinished


@attrs.define
class Counts:
    """What became of all prompts so far."""

    pairs: int = 0
    outcomes: Counter[str] = attrs.field(factory=Counter)
    dropped: Counter[str] = attrs.field(factory=Counter)
    first: str = ""
    """The detail of the first outcome that has one."""

    def add(self, outcome: PromptOutcome) -> None:
        self.first = self.first or outcome.detail
        self.pairs += outcome.pairs
        self.outcomes[outcome.outcome] += 1
        self.dropped.update(reason for _, reason in outcome.dropped)

    @property
    def why_none(self) -> str:
        first = f"; for one: {self.first}" if self.first else ""
        return f"{_listed(self.outcomes)}{first}" if self.outcomes else "no prompt"

    def plain(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs,
            "dropped": dict(self.dropped),
            "outcomes": dict(self.outcomes),
        }


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "it is empty"
