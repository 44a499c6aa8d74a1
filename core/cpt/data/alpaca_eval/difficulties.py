"""What length control needs beside annotations: AlpacaEval's difficulties and gamed models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs

from cpt.data.alpaca_eval.annotations import ASKED, Annotation
from cpt.data.rows.reading import read_rows
from cpt.data.rows.row import short
from cpt.errors import BadData
from cpt.statistics.length_control import Regularizer


@attrs.frozen
class Difficulties:
    """How hard each prompt is, by id and text, or by place where there is neither."""

    source: str
    by_key: dict[str, float]
    in_order: list[float]

    def of(self, annotations: Sequence[Annotation]) -> list[float]:
        """Those of the annotated prompts, by id or text. Raises `BadData` if one has none.

        Places count only where the annotations have no ids, and are as many as the difficulties:
        of a set with gaps, they would be those of other prompts.
        """
        if any(one.key in self.by_key for one in annotations if one.key is not None):
            return [self._of(one) for one in annotations]
        if len(annotations) == len(self.in_order) and all(one.id is None for one in annotations):
            return self.in_order
        raise BadData(
            f"{self.source}: its prompts cannot be matched with {len(annotations)} annotations: "
            "give both an id (or what was asked), or as many annotations as difficulties."
        )

    def _of(self, one: Annotation) -> float:
        for key in (one.id, one.instruction):
            if key is not None and key in self.by_key:
                return self.by_key[key]
        raise BadData(f"{self.source}: no difficulty for the prompt {short(one.key, 80)}.")


def read_difficulties(source: str | Path) -> Difficulties:
    """Read AlpacaEval's difficulty of each prompt: `id` or `instruction`, `instruction_difficulty`.

    Raises `BadData`.
    """
    keys: dict[str, float] = {}
    in_order: list[float] = []
    for row in read_rows(source):
        value = row.finite_of("instruction_difficulty", "difficulty")
        if value is None:
            raise row.bad(row.lacks("a column instruction_difficulty", "instruction_difficulty"))
        in_order.append(value)
        for name in (str(row[column]) for column in ("id", *ASKED) if row[column] is not None):
            if keys.setdefault(name, value) != value:
                raise row.bad(f"the prompt {short(name, 80)} has another difficulty above")
    return Difficulties(str(source), keys, in_order)


def read_regularizer(source: str | Path) -> Regularizer:
    """The comparisons of gamed models in a file: `std_delta_len`, `instruction_difficulty`,
    `preference` (from 0 to 1). Raises `BadData`."""
    columns = ("std_delta_len", "instruction_difficulty", "preference")
    found: list[tuple[float, float, float]] = []
    for row in read_rows(source):
        gap, hard, win = (row.finite_of(name) for name in columns)
        if gap is None or hard is None or win is None:
            lacking = next(name for name in columns if row.finite_of(name) is None)
            raise row.bad(row.lacks(f"numbers in {', '.join(columns)}", lacking))
        if not 0 <= win <= 1:
            raise row.bad(f"preference is {win:g}; in a regularizer it is from 0 to 1")
        found.append((gap, hard, win))
    gaps, difficulty, wins = zip(*found, strict=True)
    return Regularizer(length_gap=gaps, difficulty=difficulty, wins=wins)
