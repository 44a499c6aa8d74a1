"""From prompts to pairs: every prompt ends with a recorded outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import attrs

from cpt.asking import in_order
from cpt.data import Unusable, pairs_and_unusable, read_prompts, write_prompts, writing_pairs
from cpt.errors import CptError, NoPair, Stopped, during
from cpt.files import writing_lines
from cpt.roles import Ask, Pairer
from cpt.roles.returns import call, checked_pairs
from cpt.run.asker import asker
from cpt.run.stage import Run, Summary, require_option
from cpt.types import Pair, Prompt

KEPT = "kept"
PAIRS, OUTCOMES = "pairs.parquet", "outcomes.jsonl"


@attrs.frozen
class Dropped:
    """One pair that was not kept, or not made."""

    pair: str
    """Its id; empty if it was not made."""
    reason: str
    detail: str = ""


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
    dropped: tuple[Dropped, ...] = ()


async def pair_one(pairer: Pairer, prompt: Prompt, ask: Ask) -> tuple[list[Pair], PromptOutcome]:
    """The sound pairs of one prompt, and its outcome. Raises `WrongReturn`."""
    try:
        with during(f"the pairer {pairer.name!r} made pairs of prompt {prompt.id!r}"):
            returned = await call(pairer, pairer.pair, prompt, ask)
    except NoPair as none:
        return [], PromptOutcome(prompt.id, none.reason, detail=none.detail, raw=none.raw)
    made = checked_pairs(pairer, prompt, returned)
    kept, dropped = _kept_and_dropped(list(_with_own_ids(made)))
    outcome = KEPT if kept else dropped[0].reason if dropped else "no_pair"
    signed = [attrs.evolve(pair, pairer=pairer.name) for pair in kept]
    return signed, PromptOutcome(prompt.id, outcome, len(kept), dropped=dropped)


def _kept_and_dropped(made: Sequence[Pair | NoPair]) -> tuple[list[Pair], tuple[Dropped, ...]]:
    """The pairs to keep, and the others with the reason."""
    kept: list[Pair] = []
    dropped: list[Dropped] = []
    for pair in made:
        if isinstance(pair, NoPair):
            dropped.append(Dropped("", pair.reason, pair.detail))
        elif fault := fault_of(pair):
            dropped.append(Dropped(pair.id, fault))
        else:
            kept.append(pair)
    return kept, tuple(dropped)


def fault_of(pair: Pair) -> str:
    """Why a pair cannot teach anything, or nothing."""
    if not pair.chosen.says_something or not pair.rejected.says_something:
        return "empty"
    chosen, rejected = (
        attrs.evolve(side.message, content=side.text.strip())
        for side in (pair.chosen, pair.rejected)
    )
    return "identical" if chosen == rejected else ""


def _with_own_ids(made: Iterable[Pair | NoPair]) -> Iterator[Pair | NoPair]:
    """The same, with a number in the ids of pairs by the same two authors."""
    seen: Counter[str] = Counter()
    for pair in made:
        if isinstance(pair, NoPair):
            yield pair
            continue
        seen[pair.id] += 1
        count = seen[pair.id]
        yield pair if count == 1 else attrs.evolve(pair, id=f"{pair.id}#{count}")


def import_prompts(run: Run) -> Summary:
    """Stage `prompts`: whatever the source, the same table in the folder."""
    prompts = islice(read_prompts(require_option(run, "prompts")), run.config.limit)
    return {"prompts": write_prompts(run.path / "prompts.parquet", prompts)}


def import_pairs(run: Run) -> Summary:
    """Stage `pairs` with `--pairs`: the given pairs, the unsound ones counted and left out."""
    source = require_option(run, "pairs")
    kept, dropped = 0, Counter[str]()
    with writing_pairs(run.path / PAIRS) as write:
        for pair in pairs_and_unusable(source):
            if isinstance(pair, Unusable):
                dropped[pair.reason] += 1
            elif fault := fault_of(pair):
                dropped[fault] += 1
            else:
                write(pair)
                kept += 1
        if not kept:
            raise CptError(f"--pairs {source}: no usable pair ({_listed(dropped)}).")
    return {"pairs": kept, "dropped": dict(dropped)}


def make_pairs(run: Run) -> Summary:
    """Stage `pairs`: ask, pair, and keep the outcome of every prompt in `outcomes.jsonl`."""
    return asyncio.run(_make_pairs(run, require_option(run, "pairer")))


async def _make_pairs(run: Run, pairer: Pairer) -> Summary:
    with writing_pairs(run.path / PAIRS) as write:
        counts, unfinished = await _pair_all(run, pairer, write)
        if over := counts.outcomes["over_budget"]:
            raise Stopped(
                f"{run.path}: the budget is used up with {over} of "
                f"{counts.outcomes.total()} prompts left. Every answer is kept: the same command "
                "with a larger --budget goes on."
            )
        if not counts.pairs:
            raise CptError(f"{run.path}: no prompt gave a pair ({counts.why_none}).")
    return counts.plain() | ({"unfinished": unfinished} if unfinished else {})


async def _pair_all(run: Run, pairer: Pairer, write: Callable[[Pair], None]) -> tuple[Counts, int]:
    """Pair every prompt, in order, and write what comes of it; also how many are unfinished."""
    prompts = read_prompts(run.path / "prompts.parquet", checked=True)
    total = run.folder.stage("prompts")["summary"]["prompts"]
    at_once, counts = run.config.asking.under_way, Counts()
    async with asker(run, "pairs", total) as ask:
        with writing_lines(run.path / OUTCOMES) as write_line:
            made = in_order(prompts, lambda prompt: pair_one(pairer, prompt, ask), at_once)
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
        self.dropped.update(pair.reason for pair in outcome.dropped)

    @property
    def why_none(self) -> str:
        first = f"; for example: {self.first}" if self.first else ""
        return f"{_listed(self.outcomes)}{first}" if self.outcomes else "no prompt"

    def plain(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs,
            "dropped": dict(self.dropped),
            "outcomes": dict(self.outcomes),
        }


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "it is empty"
