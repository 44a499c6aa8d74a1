"""A judge judged: its verdicts on answers whose label is known."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import attrs

from cpt.asking import Asker, in_order
from cpt.asking.money.budget import used_up
from cpt.asking.options import Asking
from cpt.data import Annotation
from cpt.errors import NoPair
from cpt.files import writing_lines
from cpt.matches.labelled import Labelled
from cpt.roles import Ask, Judge
from cpt.statistics import Judgement, JudgementCounts
from cpt.types import Missing, Verdict

JUDGEMENTS = "judgements.jsonl"


@attrs.define
class Validation:
    """What is known of a judge so far."""

    counts: JudgementCounts = attrs.field(factory=JudgementCounts)
    reasons: Counter[str] = attrs.field(factory=Counter)
    """Why there was no verdict."""
    example: str = ""
    """The first of them, in words."""
    asked: Mapping[str, Any] = attrs.field(factory=dict)
    """What asking took."""

    def add(self, judged: Judged) -> None:
        self.counts.add(judged.judgement)
        if judged.missing:
            self.reasons[judged.missing.reason] += 1
            self.example = self.example or judged.missing.detail


@attrs.frozen
class Judged:
    """One verdict on two answers."""

    labelled: Labelled
    verdict: Verdict
    judgement: Judgement
    missing: Missing | None
    """Why there is no verdict."""

    def plain(self, judge: str) -> dict[str, Any]:
        """As AlpacaEval writes it, with the label and the judge's own words beside it."""
        of, comparisons = self.labelled, self.judgement.comparisons
        order = {one.first: one.first_wins for one in comparisons}
        second = order.get(1)
        annotation = Annotation(
            win=self.judgement.preference,
            id=of.prompt.id,
            instruction=of.prompt.text,
            outputs=(of.other.text, of.answer.text),
            generators=(of.other.author, of.answer.author),
            annotator=judge,
            shown_first=order.get(0),
            shown_second=None if second is None else 1 - second,
            note=f"{self.missing.reason}: {self.missing.detail}" if self.missing else "",
        )
        label = None if of.label is None else 1 + of.label
        shown = [attrs.asdict(one) for one in comparisons]
        return {
            **annotation.plain(),
            "pair": of.id,
            "label": label,
            "scores": list(self.verdict.scores),
            "comparisons": shown,
            "raw": list(self.verdict.raw),
        }


def validate(
    judge: Judge,
    labelled: Iterable[Labelled],
    output: Path,
    asking: Asking,
    total: int | None = None,
) -> Validation:
    """Judge all, and write `judgements.jsonl` into the folder `output`, which keeps the answers.

    Raises `Stopped` if the budget does not reach.
    """
    return asyncio.run(_validate(judge, labelled, output, asking, total))


async def _validate(
    judge: Judge, labelled: Iterable[Labelled], output: Path, asking: Asking, total: int | None
) -> Validation:
    found = Validation()
    journal = output / "journal.sqlite"
    async with Asker(journal, options=asking, stage="judgements", total=total) as ask:
        with writing_lines(output / JUDGEMENTS) as write:
            await _judge_all(judge, labelled, ask, asking.under_way, found, write)
            if over := found.reasons["over_budget"]:
                raise used_up(output, f"with {over} pairs left")
    found.asked = ask.stats.plain()
    return found


async def _judge_all(
    judge: Judge,
    labelled: Iterable[Labelled],
    ask: Asker,
    at_once: int,
    found: Validation,
    write: Callable[[Mapping[str, Any]], object],
) -> None:
    async for judged in in_order(labelled, lambda one: judged_by(judge, one, ask), at_once):
        found.add(judged)
        write(judged.plain(judge.name))
        ask.advance()


async def judged_by(judge: Judge, labelled: Labelled, ask: Ask) -> Judged:
    """The verdict on two answers, shown in an order that is drawn at random and shows no label."""
    both = (labelled.answer, labelled.other)
    turned = _is_turned(labelled.id)
    shown = both[::-1] if turned else both
    try:
        verdict = await judge.judge(labelled.prompt, shown, ask)
    except NoPair as none:
        why = Missing(none.reason, none.detail, none.raw)
        verdict = Verdict(scores=(None, None), missing=(why, why))
    if turned:
        verdict = _turned(verdict)
    judgement = Judgement.of(verdict, both, labelled.label)
    scores = (verdict.score_of(place) for place in (0, 1))
    missing = next((why for why in scores if isinstance(why, Missing)), None)
    return Judged(labelled, verdict, judgement, missing)


def _is_turned(name: str) -> bool:
    return bool(blake2b(name.encode(errors="replace"), digest_size=1).digest()[0] & 1)


def _turned(verdict: Verdict) -> Verdict:
    """A verdict on two answers, as if they had been given the other way round."""
    return attrs.evolve(
        verdict,
        scores=verdict.scores[::-1],
        raw=verdict.raw[::-1],
        missing=verdict.missing[::-1],
        comparisons=tuple(
            attrs.evolve(one, first=one.second, second=one.first) for one in verdict.comparisons
        ),
    )
