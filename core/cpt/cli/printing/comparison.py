"""Several runs side by side in a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpt.cli.printing.output import echo
from cpt.cli.printing.scores import interval, print_table, score_rows, table_of
from cpt.errors import shortened

if TYPE_CHECKING:
    from cpt.run.results.compare import RunComparison

LONGEST_VALUE = 40
MOST_ACROSS = 4
"""Runs that have columns of their own; more of them have rows."""


def print_comparison(found: RunComparison) -> None:
    """Each score of each run, its difference from the first run, and what differs in options."""
    labels = _labels(found.runs)
    if len(labels) > MOST_ACROSS:
        table = table_of(["", "score", "minus the first"], _rows_of_runs(found, labels))
    else:
        rows = score_rows(found.scores, found.differences, found.runs, "  minus the first")
        table = table_of(["", *labels], rows)
    print_table(table, _explained(found))
    for address, values in found.by_component.items():
        echo(f"{address}: {' | '.join(_short(value) for value, _ in values)}")


def _rows_of_runs(found: RunComparison, labels: Sequence[str]) -> Iterator[list[str]]:
    """Each score, and below it a row for each run that has it."""
    for name, scores in found.scores.items():
        gaps = found.differences.get(name, {})
        yield [name, "", ""]
        for run, label in zip(found.runs, labels, strict=True):
            if run in scores:
                yield [f"  {label}", interval(scores[run]), interval(gaps.get(run), sign="+")]


def _labels(runs: Sequence[str]) -> Sequence[str]:
    """The last part of each path, where that distinguishes the runs."""
    short = [Path(run).name for run in runs]
    return short if len(set(short)) == len(short) else runs


def _explained(found: RunComparison) -> str:
    if not found.comparisons:
        return "± is half of the 95% interval. No score has prompts or pairs that the runs share."
    said = (
        "± is half of the 95% interval. Differences are taken one by one, over the prompts (or "
        "pairs) that both runs have"
    )
    if found.comparisons == 1:
        return f"{said}."
    return (
        f"{said}; their intervals are widened so that all {found.comparisons} hold together "
        "(Bonferroni)."
    )


def _short(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return shortened(text, LONGEST_VALUE)
