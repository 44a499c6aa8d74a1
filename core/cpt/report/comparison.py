"""The page that sets several runs side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.files import write_text
from cpt.report import plots
from cpt.report.figures import Figure
from cpt.report.formatting import with_interval
from cpt.report.html import environment
from cpt.report.read.files import without_secrets
from cpt.report.read.scores import decimals_of
from cpt.run.results.compare import RunComparison
from cpt.types import Score


def publishable(found: RunComparison) -> RunComparison:
    """The same without secrets in the options."""
    options = {
        address: tuple(without_secrets(value, address.rpartition(".")[2]) for value in values)
        for address, values in found.options.items()
    }
    return attrs.evolve(found, options=options)


def write(path: Path, found: RunComparison) -> None:
    """Write the page of a publishable comparison. The same runs give the same bytes."""
    page = environment(option, score, figure).get_template("comparison.html")
    write_text(path, page.render(found=found))


def score(value: Score, beside: Mapping[str, Score], sign: bool = False) -> str:
    """A score with its interval, in as many decimals as those beside it."""
    return with_interval(value, decimals_of(list(beside.values())), sign)


def option(value: Any) -> str:
    """The value of an option; a dash where there is none."""
    if value is None:
        return "\u2013"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def figure(found: RunComparison, name: str) -> Figure:
    """One score of every run that has it, and its difference from the first."""
    scores = found.scores[name]
    gaps = found.differences.get(name, {})
    rows = [(run, "control" if run == found.runs[0] else "after") for run in scores]
    panels = [plots.Panel("score", [_ends(value) for value in scores.values()])]
    if gaps:
        differences = [_ends(gaps[run]) if run in gaps else None for run in scores]
        panels.append(plots.Panel("minus the first", differences, zero=True))
    said = "; ".join(f"{run} {score(value, scores)}" for run, value in scores.items())
    return Figure(
        plots.intervals(rows, panels, f"{name} with 95% intervals: {said}."),
        "Score, and difference from the first run, with 95% intervals.",
    )


def _ends(value: Score) -> plots.Interval:
    return value.value, value.low, value.high
