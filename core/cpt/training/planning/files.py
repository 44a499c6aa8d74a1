"""What a training writes before it begins: what was wrong with its pairs, and their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cpt.files import as_written, atomic, from_json, json_text, write_text
from cpt.training.planning.plan import Plan

DOCTOR = "doctor.json"
ORDER = pa.schema(
    {"step": pa.int32(), "pair": pa.string(), "tier": pa.int32(), "margin": pa.float64()}
)
ROWS = 2**16
"""Rows of the order that are written together."""


def write_plan(plan: Plan, output: Path) -> None:
    """`order.parquet`, if it is decided; `doctor.json`: what was wrong."""
    if not plan.phases:
        write_order(plan, plan.order, output)
    write_text(output / DOCTOR, json_text(plan.diagnosis.plain(), indent=1))


def write_order(
    plan: Plan,
    order: Sequence[Sequence[int]],
    output: Path,
    scores: Sequence[Sequence[float | None]] = (),
) -> None:
    """`order.parquet`: which pair is trained on at which step.

    `scores`, if there are any, are those that a step was ordered by, for each pair of the corpus.
    """
    schema = ORDER.append(pa.field("score", pa.float64())) if scores else ORDER
    rows = _rows_of(plan, order, scores)
    with atomic(output / "order.parquet") as temporary, pq.ParquetWriter(temporary, schema) as file:
        while some := list(islice(rows, ROWS)):
            file.write_table(pa.Table.from_pylist(some, schema))


def _rows_of(
    plan: Plan, order: Sequence[Sequence[int]], scores: Sequence[Sequence[float | None]]
) -> Iterator[dict[str, Any]]:
    """A row for each pair of each step."""
    for step, batch in enumerate(order):
        for index in batch:
            facts = plan.corpus.facts[index]
            row = {"step": step + 1, "pair": facts.id, "tier": facts.tier, "margin": facts.margin}
            yield row | ({"score": scores[step][index]} if scores else {})


def day_of(output: Path) -> date | None:
    """The day that chat templates were given when the training in a folder began, if it did."""
    if not (output / DOCTOR).exists():
        return None
    with as_written(output / DOCTOR):
        return date.fromisoformat(from_json((output / DOCTOR).read_text())["day"])
