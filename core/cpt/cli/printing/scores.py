"""Tables of scores in a terminal."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
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
ENDLESS = 100_000
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
    named, gaps, models = _by_name(scores), _by_name(changed), list(scores)
    if len(named) > MOST_ACROSS:
        table = table_of(["", *models], score_rows(named, gaps, models, "  change"))
    else:
        columns = [column for name in named for column in (name, "change")]
        table = table_of(["", *columns], _model_rows(scores, changed, list(named)))
    print_table(
        table,
        table_of(["", "score", "change"], rows_below(named, gaps, models, models)),
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
            yield [change, *(interval(gaps.get(model), "+") for model in models)]


def rows_below(
    scores: ByModel, changes: ByModel, models: Sequence[str], labels: Sequence[str]
) -> Iterator[list[str]]:
    """Each score, and below it a row for each model that has it."""
    for name, by_model in scores.items():
        gaps = changes.get(name, {})
        yield [name, "", ""]
        for model, label in zip(models, labels, strict=True):
            if model in by_model:
                yield [f"  {label}", interval(by_model[model]), interval(gaps.get(model), "+")]


def _model_rows(scores: ByModel, changes: ByModel, names: Sequence[str]) -> Iterator[list[str]]:
    """A row for each model, in which each score is followed by its change."""
    for who, named in scores.items():
        gaps = changes.get(who, {})
        both = ((interval(named.get(name)), interval(gaps.get(name), "+")) for name in names)
        yield [who, *chain.from_iterable(both)]


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


def print_table(wide: Table, tall: Table, explained: str) -> None:
    """Print a table, or the other one where numbers would be cut; and how to read it."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else WIDE)
    needed = console.measure(wide, options=console.options.update(width=ENDLESS)).maximum
    console.print(wide if needed <= console.width else tall)
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


def interval(score: Score | None, sign: str = "") -> str:
    """A score with half of its interval, and over how many it is if some are missing."""
    if score is None:
        return ""
    half = (score.high - score.low) / 2
    ends = f"± {half:.3f}" if math.isfinite(half) else "(no interval)"
    measured = f" ({score.n} of {score.of} {score.unit})" if score.missing else ""
    return f"{score.value:{sign}.3f} {ends}{measured}"
