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
class Fate:
    """A reason, how often, and where it was met first."""

    reason: str
    count: int
    example: str = ""
    """The id of the first prompt or pair."""
    detail: str = ""
    """What happened there, or what the reason means."""


@attrs.frozen(kw_only=True)
class Fates:
    """One question (what became of the prompts?), its answers, and what they are out of."""

    total: int
    fates: tuple[Fate, ...]

    @property
    def unknown(self) -> int:
        """Those that nothing is recorded of."""
        return self.total - sum(fate.count for fate in self.fates)


@attrs.frozen(kw_only=True)
class Funnel:
    """From prompts to the pairs that were trained on."""

    prompts: Fates | None = None
    made: Fates | None = None
    """Pairs as they came from the pairer, or from a file."""
    trained: Fates | None = None
    """Kept pairs as training took them."""
    noted: tuple[Fate, ...] = ()
    """What pairs were trained on in spite of."""


def read_funnel(run: Path, stages: Mapping[str, Any]) -> Funnel:
    """Count again, from the files; where one is missing, from what its stage said."""
    doctor = read_json(run / "doctor.json")
    prompts, dropped = _fates(run)
    said = stages.get("pairs", {}).get("summary", {})
    kept = said.get("pairs", 0)
    if not dropped:
        dropped = tuple(
            Fate(reason=why, count=count, detail=MEANS.get(why, ""))
            for why, count in said.get("dropped", {}).items()
        )
    made = (Fate(reason=KEPT, count=kept), *dropped)
    total = stages.get("prompts", {}).get("summary", {}).get("prompts", 0)
    return Funnel(
        prompts=Fates(total=max(total, _sum(prompts)), fates=prompts) if prompts else None,
        made=Fates(total=_sum(made), fates=made) if said else None,
        trained=_trained(doctor),
        noted=_found(doctor, noted=True) if doctor else (),
    )


def _sum(fates: Iterable[Fate]) -> int:
    return sum(fate.count for fate in fates)


def _fates(run: Path) -> tuple[tuple[Fate, ...], tuple[Fate, ...]]:
    """Prompts by their fate, and pairs by what they were dropped for."""
    counts: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    first: dict[str, tuple[str, str]] = {}
    first_lost: dict[str, str] = {}
    for line in read_lines(run / "fates.jsonl"):
        counts[line["fate"]] += 1
        detail = line["detail"] or MEANS.get(line["fate"], "")
        first.setdefault(line["fate"], (line["prompt_id"], detail))
        for pair, reason in line["dropped"]:
            lost[reason] += 1
            first_lost.setdefault(reason, pair)
    prompts = tuple(
        Fate(reason=KEPT, count=count)
        if reason == KEPT
        else Fate(reason=reason, count=count, example=first[reason][0], detail=first[reason][1])
        for reason, count in _kept_first(counts)
    )
    pairs = (
        Fate(reason=why, count=count, example=first_lost[why], detail=MEANS.get(why, ""))
        for why, count in lost.most_common()
    )
    return prompts, tuple(pairs)


def _kept_first(counts: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (each[0] != KEPT, -each[1], each[0]))


def _trained(doctor: Mapping[str, Any] | None) -> Fates | None:
    if not doctor:
        return None
    fates = (Fate(reason=KEPT, count=doctor["kept"]), *_found(doctor, noted=False))
    return Fates(total=doctor["pairs"], fates=fates)


def _found(doctor: Mapping[str, Any], *, noted: bool) -> tuple[Fate, ...]:
    first = {each["problem"]: each["pair"] for each in reversed(doctor["findings"])}
    return tuple(
        Fate(reason=why, count=count, example=first.get(why, ""), detail=MEANS.get(why, ""))
        for why, count in doctor["counts"].items()
        if (why in NOTED) == noted
    )
