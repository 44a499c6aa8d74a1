"""From prompts to pairs: every prompt ends with a recorded outcome."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import attrs

from cpt.asking import in_order
from cpt.asking.money.budget import used_up
from cpt.asking.stats import Stats
from cpt.data import Unusable, pairs_and_unusable, read_prompts, write_prompts, writing_pairs
from cpt.errors import CptError, NoPair, during
from cpt.roles import Ask, Pairer
from cpt.roles.returns import call, checked_pairs
from cpt.run.asker import asker
from cpt.run.stage import Run, Summary, require_option
from cpt.run.stages.card import write_card
from cpt.run.stages.outcomes import KEPT, Dropped, Made, PromptOutcome, listed
from cpt.run.stages.recording import Recorder, recording
from cpt.training.data.checks.texts import dropped_for
from cpt.types import Pair, Prompt

PAIRS = "pairs.parquet"


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
        elif fault := dropped_for(pair):
            dropped.append(Dropped(pair.id, fault))
        else:
            kept.append(pair)
    return kept, tuple(dropped)


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
    """Stage `pairs` with `--pairs`: the given pairs, without the unsound ones."""
    source = require_option(run, "pairs")
    with writing_pairs(run.path / PAIRS) as write:
        with recording(run, write) as recorder:
            for found in pairs_and_unusable(source):
                recorder.add(made_of(found))
            recorder.finish()
        if not recorder.made.pairs:
            why = listed(recorder.made.dropped) or "it is empty"
            raise CptError(f"--pairs {source}: no usable pair ({why}).")
        if recorder.emptied:
            raise CptError(f"--pairs {source}: {recorder.emptied}.")
    write_card(run, recorder.card, recorder.left)
    return {"pairs": recorder.left.pairs, "dropped": dict(recorder.left.dropped)}


def made_of(found: Pair | Unusable) -> Made:
    """A given pair, or why it is none, as an outcome of its prompt."""
    if isinstance(found, Unusable):
        return _dropped("", Dropped(found.id, found.reason, found.detail))
    if fault := dropped_for(found):
        return _dropped(found.prompt.id, Dropped(found.id, fault))
    return Made((found,), PromptOutcome(found.prompt.id, KEPT, 1))


def _dropped(prompt_id: str, dropped: Dropped) -> Made:
    return Made((), PromptOutcome(prompt_id, dropped.reason, dropped=(dropped,)))


def make_pairs(run: Run) -> Summary:
    """Stage `pairs`: ask, pair, filter, and keep the outcome of every prompt."""
    return asyncio.run(_make_pairs(run, require_option(run, "pairer")))


async def _make_pairs(run: Run, pairer: Pairer) -> Summary:
    with writing_pairs(run.path / PAIRS) as write:
        with recording(run, write) as recorder:
            stats = await _pair_all(run, pairer, recorder)
            over = recorder.made.outcomes["over_budget"]
            recorder.finish(sift=not over)
        if over:
            total = recorder.made.outcomes.total()
            raise used_up(run.path, f"with {over} of {total} prompts left")
        if not recorder.made.pairs:
            raise CptError(f"{run.path}: no prompt gave a pair ({recorder.made.why_none}).")
        if recorder.emptied:
            raise CptError(f"{run.path}: {recorder.emptied}.")
    write_card(run, recorder.card, recorder.left)
    return recorder.summary() | stats.left()


async def _pair_all(run: Run, pairer: Pairer, recorder: Recorder) -> Stats:
    """Pair every prompt, in order, and record what comes of it."""
    prompts = read_prompts(run.path / "prompts.parquet", checked=True)
    total = run.folder.stage("prompts")["summary"]["prompts"]
    at_once = run.config.asking.under_way
    async with asker(run, "pairs", total) as ask:
        paired = in_order(prompts, lambda prompt: pair_one(pairer, prompt, ask), at_once)
        async for kept, outcome in paired:
            recorder.add(Made(tuple(kept), outcome))
            ask.advance()
    return ask.stats
