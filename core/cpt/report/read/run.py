"""Everything that the page says, gathered from a run folder as one frozen record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.report.read.costs import Bill, read_bill, seconds
from cpt.report.read.curves import Course, read_course
from cpt.report.read.files import without_secrets
from cpt.report.read.outcomes import Funnel, read_funnel
from cpt.report.read.pairs import Pairs, read_pairs
from cpt.report.read.recipe import Recipe, made_from, recipe_of
from cpt.report.read.scores import Measure, read_scores
from cpt.run.record.folder import Folder

ROAD = {
    "prompts": "reading the prompts",
    "pairs": "making the pairs",
    "model": "training",
    "controls": "training the controls",
    "scores": "measuring",
}
"""The stages, as what they do."""


@attrs.frozen(kw_only=True)
class Report:
    """What is known of one run."""

    title: str
    written: str
    """When the run was last walked."""
    unfinished: tuple[str, ...]
    """What was begun and not ended."""
    measures: tuple[Measure, ...]
    funnel: Funnel
    pairs: Pairs | None
    course: Course | None
    trained: bool
    """Whether the training came to its end."""
    bill: Bill
    seconds: tuple[tuple[str, float], ...]
    recipe: Recipe


def gather(run: Path) -> Report | None:
    """Read a run folder; None if no stage was done. Raises `CptError` where it is damaged."""
    record = without_secrets(Folder(run).record)
    stages: Mapping[str, Any] = record.get("stages", {})
    done = [name for name, stage in stages.items() if stage.get("state") == "done"]
    if not done:
        return None
    made = made_from(stages)
    seed = made.get("seed", record["options"].get("seed", 0))
    return Report(
        title=_title(made, record["options"]),
        written=str(record.get("written", "")).replace("T", " ").replace("Z", " UTC"),
        unfinished=tuple(ROAD.get(name, name) for name in stages if name not in done),
        measures=read_scores(run),
        funnel=read_funnel(run, stages),
        pairs=read_pairs(run, seed),
        course=read_course(run, made.get("loss", {})),
        trained="model" in done,
        bill=read_bill(run),
        seconds=seconds(stages),
        recipe=recipe_of(record),
    )


def _title(made: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """`clair pairs, apo_zero, on lab:policy`, as far as the run has come."""
    pairer = None if made.get("pairs") else made.get("pairer") or options.get("pairer")
    parts = [
        f"{pairer['name']} pairs" if pairer else "given pairs",
        made.get("loss", {}).get("name"),
        f"on {made['model']}" if made.get("model") else None,
    ]
    return ", ".join(part for part in parts if part)
