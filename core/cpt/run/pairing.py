"""From prompts to pairs: every prompt ends with a recorded fate."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import attrs

from cpt import paths
from cpt.asking import in_order
from cpt.data import read_pairs, read_prompts, write_pairs, write_prompts
from cpt.errors import CptError, NoPair, Stopped
from cpt.files import atomic
from cpt.roles import Pairer
from cpt.run.asking import asker
from cpt.run.stages import Run, Summary, needed
from cpt.types import Ask, Pair, Prompt

KEPT = "kept"


@attrs.frozen
class Fate:
    """What became of one prompt."""

    prompt_id: str
    fate: str
    """`kept` if it gave a pair, else why it gave none."""
    pairs: int = 0
    detail: str = ""
    raw: str = ""
    """The text that was refused, whole."""
    dropped: tuple[tuple[str, str], ...] = ()
    """Pairs that were not kept: (pair id, reason)."""


async def pair_one(pairer: Pairer, prompt: Prompt, ask: Ask) -> tuple[list[Pair], Fate]:
    """The sound pairs of one prompt, and its fate."""
    try:
        made = [attrs.evolve(pair, pairer=pairer.name) for pair in await pairer.pair(prompt, ask)]
    except NoPair as none:
        return [], Fate(prompt.id, none.reason, detail=none.detail, raw=none.raw)
    faults = [(pair, fault_of(pair)) for pair in _with_own_ids(made)]
    kept = [pair for pair, fault in faults if not fault]
    dropped = tuple((pair.id, fault) for pair, fault in faults if fault)
    fate = KEPT if kept else dropped[0][1] if dropped else "no_pair"
    return kept, Fate(prompt.id, fate, len(kept), dropped=dropped)


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
    """Stage `pairs`: ask, pair, and keep the fate of every prompt in `fates.jsonl`."""
    if run.config.pairs:
        return _take(run, read_pairs(paths.resolve(run.config.pairs)))
    pairer = needed(run, "pairer")
    return asyncio.run(_make(run, pairer))


def _take(run: Run, pairs: Iterable[Pair]) -> Summary:
    """Pairs that someone else made, the unsound ones counted and left out."""
    judged = [(pair, fault_of(pair)) for pair in pairs]
    kept = [pair for pair, fault in judged if not fault]
    faults = Counter(fault for _, fault in judged if fault)
    if not kept:
        raise CptError(f"--pairs {run.config.pairs}: no usable pair ({_listed(faults)}).")
    write_pairs(run.path / "pairs.parquet", kept)
    return {"pairs": len(kept), "dropped": dict(faults)}


async def _make(run: Run, pairer: Pairer) -> Summary:
    prompts = read_prompts(run.path / "prompts.parquet")
    total = run.folder.stage("prompts")["summary"]["prompts"]
    pairs: list[Pair] = []
    fates: list[Fate] = []
    async with asker(run, "pairs", total) as ask:
        at_once = run.config.asking.under_way
        async for kept, fate in in_order(prompts, lambda one: pair_one(pairer, one, ask), at_once):
            pairs += kept
            fates.append(fate)
            ask.advance()
    with atomic(run.path / "fates.jsonl") as file:
        file.write_text("".join(json.dumps(attrs.asdict(fate)) + "\n" for fate in fates))
    summary = _summary(fates)
    if over := summary["fates"].get("over_budget"):
        raise Stopped(
            f"{run.path}: the budget is used up with {over} of {len(fates)} prompts left. Every "
            "answer is kept: the same command with a larger --budget goes on."
        )
    if not pairs:
        why = f"{_listed(summary['fates'])}; the first: {fates[0].detail}" if fates else "no prompt"
        raise CptError(f"{run.path}: no prompt gave a pair ({why}).")
    write_pairs(run.path / "pairs.parquet", pairs)
    return summary | ({"unfinished": ask.tally.unfinished} if ask.tally.unfinished else {})


def _summary(fates: Sequence[Fate]) -> dict[str, Any]:
    dropped = Counter(reason for fate in fates for _, reason in fate.dropped)
    return {
        "pairs": sum(fate.pairs for fate in fates),
        "dropped": dict(dropped),
        "fates": dict(Counter(fate.fate for fate in fates)),
    }


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "it is empty"
