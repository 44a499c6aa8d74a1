"""What a journal's answers cost."""

from __future__ import annotations

from pathlib import Path

import attrs

from cpt.asking import schema

BILL = f"""SELECT stage, author, count(*), sum(input_tokens), sum(cached_tokens),
    sum(output_tokens), {schema.DOLLARS}, sum(cost IS NULL)
    FROM answers JOIN requests USING (key) GROUP BY stage, author ORDER BY stage, author"""
MEAN = """SELECT avg(output_tokens) FROM answers
    WHERE author = ? AND output_tokens > 0 AND outcome IN ('answered', 'cut_off')"""


@attrs.frozen
class Charge:
    """One line of a bill: what a stage asked one author."""

    stage: str
    author: str
    answers: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    dollars: float | None
    """For the answers whose price is known; None if that is none of them."""
    unpriced: int
    """Answers whose price is unknown: the bill is that much short."""


def bill(journal: Path) -> list[Charge]:
    """Every stage and author, in alphabetical order. Raises `CptError` if it is no journal."""
    with schema.reading(journal) as connection:
        return [Charge(*line) for line in connection.execute(BILL)]


def mean_output_tokens(journal: Path, author: str) -> float | None:
    """How long an author's answers are, None where there is none yet."""
    with schema.reading(journal) as connection:
        mean: float | None = connection.execute(MEAN, (author,)).fetchone()[0]
        return mean
