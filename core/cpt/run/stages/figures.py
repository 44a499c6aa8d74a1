"""The figures of an evaluation on the card of the model that was trained."""

from __future__ import annotations

import math
from pathlib import Path

from cpt.config import AFTER, BEFORE
from cpt.files import write_text
from cpt.markdown import literal
from cpt.run.results.scores import Scores, changes
from cpt.types import Score

HEADING = "## Scores\n"
LAST = "Made with "
"""How the last line of a card begins."""


def add_scores(card: Path, scores: Scores) -> None:
    """Write the scores into a card, in place of those that it has; a card that is not there stays
    away."""
    if not card.is_file():
        return
    text, made, last = card.read_text(encoding="utf-8").rpartition(LAST)
    kept = text.partition(HEADING)[0]
    write_text(card, f"{kept}{HEADING}\n{_table(scores)}\n{made}{last}")


def _table(scores: Scores) -> str:
    before, after = scores.get(BEFORE, {}), scores.get(AFTER, {})
    gaps = changes(before, after)
    cells = (
        (literal(name), *map(_cell, (before.get(name), score, gaps.get(name))))
        for name, score in after.items()
    )
    rows = [f"| {' | '.join(row)} |" for row in cells]
    head = "| score | before | after | change |\n|---|---|---|---|\n"
    return f"{head}{chr(10).join(rows)}\n\nIn brackets 95% intervals; a change is paired.\n"


def _cell(score: Score | None) -> str:
    if score is None:
        return ""
    if not (math.isfinite(score.low) and math.isfinite(score.high)):
        return f"{score.value:.4g}"
    return f"{score.value:.4g} [{score.low:.4g}, {score.high:.4g}]"
