"""Judged comparisons and answers in AlpacaEval's formats: `annotations.json`, `model_outputs.json`.

An annotation compares the answer of a baseline (1) with that of a model (2).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cpt.data.prompts import NUMBERED
from cpt.data.rows.reading import read_rows
from cpt.data.rows.row import Row, short
from cpt.errors import BadData
from cpt.files import json_text, write_text
from cpt.types import Prompt, Response

log = logging.getLogger("cpt")

ASKED = ("instruction", "prompt")
GENERATORS = (("generator_1", "model_1"), ("generator_2", "model_2"))
JUDGES = ("annotator", "judge")
SWAPPED = ("presented_swapped", "is_switched_outputs")
TRUE, FALSE = ("true", "1"), ("false", "0")
UNSUITABLE = "it may be of another version, or no annotation of AlpacaEval"


@attrs.frozen(kw_only=True)
class Annotation:
    """What a judge preferred: the answer of a baseline or that of a model."""

    win: float | None
    """Of the model: 0 (the baseline is better), 0.5 (a draw) to 1; None where the judge said
    nothing that can be read."""
    id: str | None = None
    """Of the prompt."""
    instruction: str | None = None
    """What was asked."""
    outputs: tuple[str, str] | None = None
    """The baseline's answer and the model's."""
    lengths: tuple[int, int] | None = None
    """Their code points."""
    generators: tuple[str, str] = ("", "")
    """Who wrote them."""
    annotator: str = ""
    """The judge."""
    shown_first: float | None = None
    """The win in the order that showed the model's answer first, where it is known."""
    shown_second: float | None = None
    """The win in the other order."""
    weight: float | None = None
    """What it counts, where its verdicts are graded: a strong one counts three times."""
    note: str = ""
    """Why there is no win, where that is known."""

    @property
    def key(self) -> str | None:
        """What distinguishes its prompt from others: the id, or else what was asked."""
        return self.id if self.id is not None else self.instruction

    def plain(self) -> dict[str, Any]:
        """As AlpacaEval writes it; the wins of both orders are named beside the preference."""
        one, two = self.outputs or (None, None)
        said = {
            "id": self.id,
            "instruction": self.instruction,
            "output_1": one,
            "generator_1": self.generators[0],
            "output_2": two,
            "generator_2": self.generators[1],
            "annotator": self.annotator,
            "shown_first": self.shown_first,
            "shown_second": self.shown_second,
            "weight": self.weight,
            "note": self.note or None,
        }
        kept = {name: value for name, value in said.items() if value is not None}
        return kept | {"preference": None if self.win is None else 1 + self.win}


def read_annotations(source: str | Path, model: str | None = None) -> list[Annotation]:
    """The annotations of one model in a file: AlpacaEval's, or rows with `len_1` and `len_2`.

    `model` is the one to take where there are several. Raises `BadData` for a preference that is
    none, for a prompt that is there twice, and where several models are and none is named.
    """
    found: list[Annotation] = []
    said: set[float | None] = set()
    for row in read_rows(source):
        found.append(annotation_of(row))
        said.add(row.number_of("preference"))
    if said - {None} == {0, 1}:
        log.warning(
            "%s: every preference is 0 or 1, which means a draw or a loss; on a scale from 0 to 1 "
            "add 1 to each",
            source,
        )
    models = dict.fromkeys(one.generators[1] for one in found)
    if model is not None and model not in models:
        there = ", ".join(sorted(name for name in models if name)) or "none by name"
        raise BadData(f"{source}: no model is called {model!r}; there are: {there}.")
    if model is None and len(models) > 1:
        raise BadData(f"{source}: of several models ({', '.join(sorted(models))}); say which one.")
    mine = [one for one in found if model in (None, one.generators[1])]
    _refuse_twice(source, mine)
    return mine


def _refuse_twice(source: str | Path, found: Iterable[Annotation]) -> None:
    seen: set[str] = set()
    for one in found:
        if one.key in seen:
            raise BadData(
                f"{source}: the prompt {short(one.key, 80)} is there twice; leave one out."
            )
        if one.key is not None:
            seen.add(one.key)


def annotation_of(row: Row) -> Annotation:
    """The annotation in a row. Raises `BadData`."""
    if "games" in row.values:
        return arena_annotation(row)
    if "preference" not in row.values:
        raise row.bad(f"{row.lacks('a column preference', 'preference')}; {UNSUITABLE}")
    outputs, asked, name = _outputs(row), row.first(*ASKED), row["id"]
    win = _win(row, "preference")
    first, second = _by_order(row, win)
    return Annotation(
        win=win,
        id=None if name is None else str(name),
        instruction=None if asked is None else str(asked),
        outputs=outputs,
        lengths=(len(outputs[0]), len(outputs[1])) if outputs else _lengths(row),
        generators=(str(row.first(*GENERATORS[0]) or ""), str(row.first(*GENERATORS[1]) or "")),
        annotator=str(row.first(*JUDGES) or ""),
        shown_first=first,
        shown_second=second,
        weight=row.finite_of("weight"),
        note=str(row["note"] or ""),
    )


def arena_annotation(row: Row) -> Annotation:
    """A judgement of Arena-Hard: two games, the first with the baseline's answer as A.

    Raises `BadData` for a verdict that is none.
    """
    from cpt.statistics.arena import grade_values

    games = row["games"]
    if not isinstance(games, Sequence) or isinstance(games, str) or len(games) != 2:
        raise row.bad("games must be two, one in each order; it may be no judgement of Arena-Hard")
    verdicts = [game.get("score") if isinstance(game, Mapping) else None for game in games]
    common = Annotation(
        win=None,
        id=str(row.first("uid", "question_id")),
        generators=(str(row["baseline"] or ""), str(row["model"] or "")),
        annotator=str(row["judge"] or ""),
        note="a game has no verdict",
    )
    if None in verdicts:
        return common
    try:
        second = grade_values(str(verdicts[0]), model_is_a=False)
        first = grade_values(str(verdicts[1]), model_is_a=True)
    except ValueError as error:
        raise row.bad(str(error)) from None
    wins = first + second
    return attrs.evolve(
        common,
        win=sum(wins) / len(wins),
        weight=len(wins) / 2,
        shown_first=first[0],
        shown_second=second[0],
        note="",
    )


def _win(row: Row, column: str) -> float | None:
    """A preference as a win. Raises `BadData`."""
    from cpt.statistics.win_rates import win_of

    if isinstance(row[column], bool):
        raise row.bad(f"{column} is {row[column]}, not a number")
    try:
        return win_of(row.finite_of(column))
    except ValueError as error:
        raise row.bad(f"{error}; {UNSUITABLE}") from None


def _by_order(row: Row, win: float | None) -> tuple[float | None, float | None]:
    """The wins with the model's answer shown first, and second, as far as the row says so."""
    said = row.first(*SWAPPED)
    if said is None:
        return row.finite_of("shown_first"), row.finite_of("shown_second")
    if str(said).lower() not in TRUE + FALSE:
        raise row.bad(f"{said!r:.40} says neither that the answers were swapped nor that not")
    return (win, None) if str(said).lower() in TRUE else (None, win)


def _outputs(row: Row) -> tuple[str, str] | None:
    both = [row.values.get(name) for name in ("output_1", "output_2")]
    if both == [None, None]:
        return None
    if not all(isinstance(text, str) for text in both):
        raise row.bad(f"output_1 and output_2 must both be texts; {UNSUITABLE}")
    return str(both[0]), str(both[1])


def _lengths(row: Row) -> tuple[int, int] | None:
    one, two = row.whole_of("len_1"), row.whole_of("len_2")
    if one is None or two is None:
        return None
    if min(one, two) < 0:
        raise row.bad("len_1 and len_2 count characters: they cannot be less than 0")
    return one, two


def write_annotations(path: str | Path, annotations: Iterable[Annotation]) -> None:
    """Write `annotations.json`, which AlpacaEval and `read_annotations` read."""
    write_text(Path(path), json_text([one.plain() for one in annotations], indent=1))


def write_outputs(path: str | Path, answers: Iterable[tuple[Prompt, Response]]) -> None:
    """Write `model_outputs.json`, which AlpacaEval and `read_responses` read."""
    rows = [
        ({} if prompt.id.startswith(NUMBERED) else {"id": prompt.id})
        | {"instruction": prompt.text, "output": said.text, "generator": said.author}
        for prompt, said in answers
    ]
    write_text(Path(path), json_text(rows, indent=1))


def merged(sets: Sequence[Sequence[Annotation]]) -> list[Annotation]:
    """Several judges' annotations of the same answers as one: the mean win of each prompt.

    A prompt that some did not judge has the mean of the others. Raises `BadData` if the sets are of
    different answers to a prompt, or if annotations have neither an id nor a text.
    """
    by_key: dict[str, list[Annotation]] = {}
    for one in (one for judged in sets for one in judged):
        if one.key is None:
            raise BadData(
                "annotations without an id and without what was asked cannot be merged; give each "
                "a column id or instruction."
            )
        by_key.setdefault(one.key, []).append(one)
    return [_averaged(same) for same in by_key.values()]


def _averaged(same: Sequence[Annotation]) -> Annotation:
    first = same[0]
    if any(one.outputs != first.outputs or one.lengths != first.lengths for one in same):
        raise BadData(
            f"the prompt {short(first.key, 80)} has other answers in another file; merge judges of "
            "the same answers only."
        )
    return attrs.evolve(
        first,
        win=_mean_of(one.win for one in same),
        shown_first=_mean_of(one.shown_first for one in same),
        shown_second=_mean_of(one.shown_second for one in same),
        annotator="+".join(dict.fromkeys(one.annotator for one in same)),
    )


def _mean_of(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
