"""The outcomes of prompts and pairs, in counts that add up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import instance_of

from cpt.files import as_written, read_json, read_lines
from cpt.run.stages.outcomes import KEPT
from cpt.training.kinds import KINDS

MEANINGS = {name: kind.meaning for name, kind in KINDS.items()}
"""The meaning of core's own outcomes; those of a pairer come with a detail."""


@attrs.frozen(kw_only=True)
class Count:
    """How many prompts or pairs have one outcome."""

    outcome: str = attrs.field(validator=instance_of(str))
    count: int = attrs.field(validator=instance_of(int))
    example: str = attrs.field(default="", validator=instance_of(str))
    """The id of the first prompt or pair."""
    detail: str = attrs.field(default="", validator=instance_of(str))
    """What happened to the first, or what the outcome means."""


@attrs.frozen(kw_only=True)
class Breakdown:
    """All prompts, or all pairs, by outcome."""

    total: int = attrs.field(validator=instance_of(int))
    counts: tuple[Count, ...]

    @property
    def unknown(self) -> int:
        """Those without a recorded outcome."""
        return self.total - _sum(self.counts)


@attrs.frozen(kw_only=True)
class Funnel:
    """From prompts to the pairs that were trained on."""

    prompts: Breakdown | None = None
    made: Breakdown | None = None
    """Pairs that came from the pairer or from a file."""
    trained: Breakdown | None = None
    """Kept pairs that training used or dropped."""
    noted: tuple[Count, ...] = ()
    """Problems of pairs that training used all the same."""


def read_funnel(run: Path, stages: Mapping[str, Any]) -> Funnel:
    """Count in the files of the run; where one is missing, take the summary of its stage."""
    with as_written(run / "outcomes.jsonl"):
        prompts, dropped = _outcomes(run)
    with as_written(run / "doctor.json"):
        doctor = read_json(run / "doctor.json")
        trained, noted = _trained(doctor), _problems(doctor, noted=True) if doctor else ()
    summary = stages.get("pairs", {}).get("summary", {})
    kept = summary.get("pairs", 0)
    if not dropped:
        dropped = tuple(
            Count(outcome=reason, count=count, detail=MEANINGS.get(reason, ""))
            for reason, count in summary.get("dropped", {}).items()
        )
    made = (Count(outcome=KEPT, count=kept), *dropped)
    total = stages.get("prompts", {}).get("summary", {}).get("prompts", 0)
    asked = prompts and not stages.get("pairs", {}).get("options", {}).get("pairs")
    return Funnel(
        prompts=Breakdown(total=max(total, _sum(prompts)), counts=prompts) if asked else None,
        made=Breakdown(total=_sum(made), counts=made) if summary else None,
        trained=trained,
        noted=noted,
    )


def _sum(counts: Iterable[Count]) -> int:
    return sum(count.count for count in counts)


def _outcomes(run: Path) -> tuple[tuple[Count, ...], tuple[Count, ...]]:
    """Prompts by their outcome, and dropped pairs by their reason."""
    prompts: dict[str, Count] = {}
    pairs: dict[str, Count] = {}
    for line in read_lines(run / "outcomes.jsonl"):
        _count(prompts, line["outcome"], line["prompt_id"], line["detail"])
        for pair in line["dropped"]:
            _count(pairs, pair["reason"], pair["pair"] or line["prompt_id"], pair["detail"])
    if KEPT in prompts:
        prompts[KEPT] = Count(outcome=KEPT, count=prompts[KEPT].count)
    by_prompts = sorted(prompts.values(), key=lambda count: (count.outcome != KEPT, *_rank(count)))
    return tuple(by_prompts), tuple(sorted(pairs.values(), key=_rank))


def _count(counts: dict[str, Count], outcome: str, example: str, detail: str = "") -> None:
    """Count one more; the first is the example."""
    detail = detail or MEANINGS.get(outcome, "")
    known = counts.get(outcome) or Count(outcome=outcome, count=0, example=example, detail=detail)
    counts[outcome] = attrs.evolve(known, count=known.count + 1)


def _rank(count: Count) -> tuple[int, str]:
    return -count.count, count.outcome


def _trained(doctor: Mapping[str, Any] | None) -> Breakdown | None:
    if not doctor:
        return None
    counts = (Count(outcome=KEPT, count=doctor["kept"]), *_problems(doctor, noted=False))
    return Breakdown(total=doctor["pairs"], counts=counts)


def _problems(doctor: Mapping[str, Any], *, noted: bool) -> tuple[Count, ...]:
    first = {finding["problem"]: finding["pair"] for finding in reversed(doctor["findings"])}
    return tuple(
        Count(
            outcome=problem,
            count=count,
            example=first.get(problem, ""),
            detail=MEANINGS.get(problem, ""),
        )
        for problem, count in doctor["counts"].items()
        if (problem in KINDS and not KINDS[problem].dropped) == noted
    )
