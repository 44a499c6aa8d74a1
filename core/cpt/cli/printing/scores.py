"""Tables of scores in a terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from cpt.cli.printing.output import LONGEST_NAME
from cpt.errors import shortened

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

    from cpt.run.results.scores import Scores
    from cpt.types import Score

WIDE = 200
"""Columns of a file or a pipe."""
MOST_ACROSS = 3
"""Scores that have columns of their own; more of them have rows."""

ByModel = Mapping[str, Mapping[str, "Score"]]
"""By the name of the score, then by model."""


def print_scores(scores: Scores) -> None:
    """Every score with its 95% interval, and its change from `before` prompt by prompt."""
    from cpt.config import BEFORE
    from cpt.run.results.scores import changes

    before = scores.get(BEFORE, {})
    changed = {who: changes(before, named) for who, named in scores.items() if who != BEFORE}
    names = list(dict.fromkeys(name for named in scores.values() for name in named))
    if len(names) > MOST_ACROSS:
        rows = score_rows(_by_name(scores), _by_name(changed), list(scores), "  change")
        table = table_of(["", *scores], rows)
    else:
        columns = [column for name in names for column in (name, "change")]
        rows = ([who, *_cells(names, named, changed.get(who, {}))] for who, named in scores.items())
        table = table_of(["", *columns], rows)
    print_table(
        table,
        "± is half of the 95% interval; changes are taken one by one, over the prompts (or pairs) "
        "that both models have.",
    )


def score_rows(
    scores: ByModel, changes: ByModel, models: Sequence[str], change: str
) -> Iterator[list[str]]:
    """A row for each score, and one for its change where there is any."""
    for name, by_model in scores.items():
        yield [name, *(interval(by_model.get(model)) for model in models)]
        if gaps := changes.get(name):
            yield [change, *(interval(gaps.get(model), sign="+") for model in models)]


def table_of(heading: Sequence[str], rows: Iterator[list[str]]) -> Table:
    """A table whose first column has names and whose others have numbers."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD)
    for place, name in enumerate(heading):
        made.add_column(_cell(name), justify="right" if place else "left", no_wrap=True)
    for row in rows:
        made.add_row(*map(_cell, row))
    return made


def print_table(table: Table, explained: str) -> None:
    """Print a table, and how to read it."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDE)
    console.print(table)
    console.print(explained)


def _by_name(scores: ByModel) -> dict[str, dict[str, Score]]:
    """By score and model instead of by model and score."""
    names = dict.fromkeys(name for named in scores.values() for name in named)
    return {
        name: {who: named[name] for who, named in scores.items() if name in named} for name in names
    }


def _cell(name: str) -> Text:
    """A text as it is: rich takes brackets for markup."""
    from rich.text import Text

    return Text(shortened(name, LONGEST_NAME))


def _cells(
    names: list[str], named: Mapping[str, Score], change: Mapping[str, Score]
) -> Iterator[str]:
    for name in names:
        yield interval(named.get(name))
        yield interval(change.get(name), sign="+")


def interval(score: Score | None, sign: str = "") -> str:
    """A score with half of its interval, and over how many it is if some are missing."""
    if score is None:
        return ""
    half = (score.high - score.low) / 2
    ends = f"± {half:.3f}" if math.isfinite(half) else "(no interval)"
    measured = f" ({score.n} of {score.of} {score.unit})" if score.missing else ""
    return f"{score.value:{sign}.3f} {ends}{measured}"
