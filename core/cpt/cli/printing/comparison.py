"""Several runs side by side in a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cpt.cli.printing.output import echo
from cpt.cli.printing.summary import WIDE, cell, interval
from cpt.errors import shortened

if TYPE_CHECKING:
    from cpt.run.compare import Comparison

LONGEST_VALUE = 40


def print_comparison(found: Comparison) -> None:
    """Each score of each run, its difference from the first run, and what differs in options."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    shown = Table(box=SIMPLE_HEAD)
    shown.add_column("", no_wrap=True)
    for label in _labels(found.runs):
        shown.add_column(cell(label), justify="right", no_wrap=True)
    for name, scores in found.scores.items():
        values = (interval(scores[run], sign="") if run in scores else "" for run in found.runs)
        shown.add_row(cell(name), *values)
        if name in found.differences:
            shown.add_row("  minus the first", *_differences(found, name))
    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(shown)
    console.print(_explained(found))
    for address, options in found.options.items():
        echo(f"{address}: {' | '.join(map(_short, options))}")


def _labels(runs: Sequence[str]) -> Sequence[str]:
    """The last part of each path, where that tells the runs apart."""
    short = [Path(run).name for run in runs]
    return short if len(set(short)) == len(short) else runs


def _differences(found: Comparison, name: str) -> Iterator[str]:
    gaps = found.differences[name]
    for run in found.runs:
        yield interval(gaps[run], sign="+") if run in gaps else ""


def _explained(found: Comparison) -> str:
    if not found.comparisons:
        return "± is half of the 95% interval. No score has prompts that the runs share."
    return (
        "± is half of the 95% interval. Differences are taken prompt by prompt, over the prompts "
        f"that both runs have; their intervals are widened so that all {found.comparisons} hold "
        "together (Bonferroni)."
    )


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return shortened(text, LONGEST_VALUE)
