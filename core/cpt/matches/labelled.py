"""Two answers to a prompt and a label that says which is better: what a judge is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

import attrs

from cpt.data import Annotation, Row, annotation_of, pairs_and_unusable, read_rows
from cpt.data.pairs import Unusable
from cpt.types import Message, Pair, Prompt, Response


@attrs.frozen(kw_only=True)
class Labelled:
    """Two answers, and which is the better one."""

    id: str
    prompt: Prompt
    answer: Response
    other: Response
    label: float | None
    """The probability that `answer` is the better one: 0.5 is a tie; None where nobody said."""


def each_labelled(source: str) -> Iterator[Labelled | Unusable]:
    """Yield the labelled answers of a source, one by one, or why a row gives none.

    A row is a pair, whose chosen answer is the better one, or a stored judgement in AlpacaEval's
    form, whose label is its `preference`. Raises `BadData`.
    """
    rows = read_rows(source, "pairs")
    first = next(rows)
    if "preference" in first.values and "chosen" not in first.values:
        return map(_of_annotation, chain([first], rows))
    rows.close()  # type: ignore[attr-defined]
    return map(_of_pair, pairs_and_unusable(source))


def _of_pair(found: Pair | Unusable) -> Labelled | Unusable:
    if isinstance(found, Unusable):
        return found
    prompt = attrs.evolve(found.prompt, info={**found.info, **found.prompt.info})
    return Labelled(
        id=found.id, prompt=prompt, answer=found.chosen, other=found.rejected, label=1.0
    )


def _of_annotation(row: Row) -> Labelled:
    """The model's answer and the baseline's; without text where only their authors are known."""
    found = annotation_of(row)
    asked = found.instruction or ""
    prompt = Prompt(id=found.key or str(row.number), messages=(Message("user", asked),))
    baseline, model = _answers(found, prompt.id)
    name = f"{prompt.id}/{model.author}>{baseline.author}"
    return Labelled(id=name, prompt=prompt, answer=model, other=baseline, label=found.win)


def _answers(found: Annotation, prompt_id: str) -> tuple[Response, Response]:
    one, two = (
        Response(prompt_id=prompt_id, text=text, author=author)
        for text, author in zip(found.outputs or ("", ""), found.generators, strict=True)
    )
    return one, two
