"""What became of every prompt and of every pair, in counts that add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.report.read.files import read_json, read_lines
from cpt.run.steps.pairing import KEPT
from cpt.training.data.findings import NOTED, REFUSED

MEANS = {**REFUSED, **NOTED}
"""What the reasons of core mean; a pairer's own come with a detail."""


@attrs.frozen(kw_only=True)
class Count:
    """A reason, how often, and where it was met first."""

    reason: str
    count: int
    example: str = ""
    """The id of the first prompt or pair."""
    detail: str = ""
    """What happened there, or what the reason means."""


@attrs.frozen(kw_only=True)
class Breakdown:
    """One question (what became of the prompts?), its answers, and what they are out of."""

    total: int
    counts: tuple[Count, ...]

    @property
    def unknown(self) -> int:
        """Those that nothing is recorded of."""
        return self.total - sum(outcome.count for outcome in self.counts)


@attrs.frozen(kw_only=True)
class Funnel:
    """From prompts to the pairs that were trained on."""

    prompts: Breakdown | None = None
    made: Breakdown | None = None
    """Pairs as they came from the pairer, or from a file."""
    trained: Breakdown | None = None
    """Kept pairs as training took them."""
    noted: tuple[Count, ...] = ()
    """What pairs were trained on in spite of."""


def read_funnel(run: Path, stages: Mapping[str, Any]) -> Funnel:
    """Count again, from the files; where one is missing, from what its stage said."""
    doctor = read_json(run / "doctor.json")
    prompts, dropped = _outcomes(run)
    said = stages.get("pairs", {}).get("summary", {})
    kept = said.get("pairs", 0)
    if not dropped:
        dropped = tuple(
            Count(reason=why, count=count, detail=MEANS.get(why, ""))
            for why, count in said.get("dropped", {}).items()
        )
    made = (Count(reason=KEPT, count=kept), *dropped)
    total = stages.get("prompts", {}).get("summary", {}).get("prompts", 0)
    return Funnel(
        prompts=Breakdown(total=max(total, _sum(prompts)), counts=prompts) if prompts else None,
        made=Breakdown(total=_sum(made), counts=made) if said else None,
        trained=_trained(doctor),
        noted=_found(doctor, noted=True) if doctor else (),
    )


def _sum(counts: Iterable[Count]) -> int:
    return sum(outcome.count for outcome in counts)


def _outcomes(run: Path) -> tuple[tuple[Count, ...], tuple[Count, ...]]:
    """Prompts by their outcome, and pairs by what they were dropped for."""
    counts: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    first: dict[str, tuple[str, str]] = {}
    first_lost: dict[str, str] = {}
    for line in read_lines(run / "outcomes.jsonl"):
        counts[line["outcome"]] += 1
        detail = line["detail"] or MEANS.get(line["outcome"], "")
        first.setdefault(line["outcome"], (line["prompt_id"], detail))
        for pair, reason in line["dropped"]:
            lost[reason] += 1
            first_lost.setdefault(reason, pair)
    prompts = tuple(
        Count(reason=KEPT, count=count)
        if reason == KEPT
        else Count(reason=reason, count=count, example=first[reason][0], detail=first[reason][1])
        for reason, count in _kept_first(counts)
    )
    pairs = (
        Count(reason=why, count=count, example=first_lost[why], detail=MEANS.get(why, ""))
        for why, count in lost.most_common()
    )
    return prompts, tuple(pairs)


def _kept_first(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (each[0] != KEPT, -each[1], each[0]))


def _trained(doctor: Mapping[str, Any] | None) -> Breakdown | None:
    if not doctor:
        return None
    counts = (Count(reason=KEPT, count=doctor["kept"]), *_found(doctor, noted=False))
    return Breakdown(total=doctor["pairs"], counts=counts)


def _found(doctor: Mapping[str, Any], *, noted: bool) -> tuple[Count, ...]:
    first = {each["problem"]: each["pair"] for each in reversed(doctor["findings"])}
    return tuple(
        Count(reason=why, count=count, example=first.get(why, ""), detail=MEANS.get(why, ""))
        for why, count in doctor["counts"].items()
        if (why in NOTED) == noted
    )
