"""Several runs side by side in a terminal."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpt.cli.printing.output import echo
from cpt.cli.printing.scores import print_table, rows_below, score_rows, table_of
from cpt.errors import shortened

if TYPE_CHECKING:
    from cpt.run.results.compare import RunComparison

LONGEST_VALUE = 40


def print_comparison(found: RunComparison) -> None:
    """Each score of each run, its difference from the first run, and what differs in options."""
    runs, labels = found.runs, _labels(found.runs)
    across = score_rows(found.scores, found.differences, runs, "  minus the first")
    below = rows_below(found.scores, found.differences, runs, labels)
    print_table(
        table_of(["", *labels], across),
        table_of(["", "score", "minus the first"], below),
        _explained(found),
    )
    for address, values in found.by_component.items():
        echo(f"{address}: {_side_by_side([_text(value) for value, _ in values])}")


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


def _side_by_side(texts: Sequence[str]) -> str:
    """The values of the runs, if what differs is in the part that is shown."""
    short = [shortened(text, LONGEST_VALUE) for text in texts]
    alike = len(set(short)) == 1 and max(map(len, texts)) > LONGEST_VALUE
    return "long, see the page" if alike else " | ".join(short)


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, default=str)
