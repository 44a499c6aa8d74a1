"""Everything that the report says about a run, read from its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.files import as_written
from cpt.report.read.browser import Browser, read_browser
from cpt.report.read.costs import Costs, read_costs, seconds
from cpt.report.read.curves import TrainingCurves, read_curves
from cpt.report.read.files import without_secrets
from cpt.report.read.outcomes import Funnel, read_funnel
from cpt.report.read.pairs import PairSummary, read_pairs
from cpt.report.read.recipe import Recipe, recipe_of, stage_options
from cpt.report.read.scores import Agreement, ScoreTable, read_agreement, read_scores
from cpt.run.pipeline import STAGES
from cpt.run.record.folder import Folder

TITLES = {stage.name: stage.title for stage in STAGES}


@attrs.frozen(kw_only=True)
class RunData:
    """What is known about one run."""

    title: str
    written: str
    """When a command last changed the run."""
    unfinished: tuple[str, ...]
    """The stages that began and did not end."""
    scores: tuple[ScoreTable, ...]
    agreement: Agreement
    """Whether they tell the same story."""
    funnel: Funnel
    pairs: PairSummary | None
    browser: Browser | None
    """The pairs that can be searched."""
    curves: TrainingCurves | None
    trained: bool
    """Whether training is finished."""
    costs: Costs
    seconds: tuple[tuple[str, float], ...]
    """Each finished stage with how long it took."""
    recipe: Recipe


def read_run(run: Path) -> RunData | None:
    """Read a run folder; None if no stage is done. Raises `CptError` if a file is damaged."""
    with as_written(run / "run.yaml"):
        return _read_run(run, without_secrets(Folder(run).record))


def _read_run(run: Path, record: Mapping[str, Any]) -> RunData | None:
    stages: Mapping[str, Any] = record.get("stages", {})
    done = [name for name, stage in stages.items() if stage.get("state") == "done"]
    if not done:
        return None
    made = stage_options(stages)
    seed = made.get("seed", record["options"].get("seed", 0))
    return RunData(
        title=_title(made, record["options"]),
        written=str(record.get("written", "")).replace("T", " ").replace("Z", " UTC"),
        unfinished=tuple(TITLES[name] for name in stages if name not in done),
        scores=read_scores(run),
        agreement=read_agreement(run),
        funnel=read_funnel(run, stages),
        pairs=read_pairs(run, seed),
        browser=read_browser(run, seed),
        curves=read_curves(run),
        trained="model" in done,
        costs=read_costs(run),
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
