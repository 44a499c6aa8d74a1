"""`dpo+0.2*sft`: a weighted sum of losses, picked by a name that spells it out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from math import inf
from typing import Any

import attrs

from cpt.errors import CptError
from cpt.roles import Loss
from cpt.roles.weighted_sum import WeightedSum


def is_sum(name: str) -> bool:
    """Whether a name spells a sum: no component may have such a name."""
    return "+" in name or "*" in name


def sum_of(name: str, find: Callable[[str], Any]) -> type[WeightedSum]:
    """The loss that a name spells; `find` is given the name of each part. Raises `CptError`."""
    return _made(name, tuple((weight, find(part)) for weight, part in _terms(name)))


def _terms(name: str) -> Iterator[tuple[float, str]]:
    for term in name.split("+"):
        weight, times, part = term.rpartition("*")
        if not part.strip():
            raise CptError(f"{name!r}: write a sum of losses as LOSS+WEIGHT*LOSS.")
        yield _weight(weight, name) if times else 1.0, part.strip()


def _weight(text: str, name: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = 0.0
    if not 0 < weight < inf:
        raise CptError(f"{name!r}: the weight {text!r} of a loss must be a number above 0.")
    return weight


@cache
def _made(name: str, terms: tuple[tuple[float, type[Loss]], ...]) -> type[WeightedSum]:
    """One class for one sum, so that two mentions of it are the same component."""
    _refuse_scores(name, [part for _, part in terms])
    weights: dict[str, float] = {}
    fields: dict[str, Any] = {}
    for weight, part in terms:
        field = re.sub(r"\W", "_", part.name)
        if field in weights:
            raise CptError(f"{name!r}: the loss {part.name!r} is in the sum twice.")
        weights[field] = weight
        fields[field] = attrs.field(factory=part, type=part)
    return attrs.make_class(
        "WeightedSum",
        fields,
        bases=(WeightedSum,),
        class_body=_body(name, weights, [part for _, part in terms]),
        frozen=True,
        slots=True,
    )


def _refuse_scores(name: str, parts: list[type[Loss]]) -> None:
    """Raise `CptError` where one part is about scores, and another about log-probabilities."""
    scored = [part.name for part in parts if "score" in part.needs]
    if 0 < len(scored) < len(parts):
        others = [part.name for part in parts if part.name not in scored]
        raise CptError(
            f"{name!r}: {', '.join(scored)} trains a reward model and {', '.join(others)} a "
            "language model, so they have no sum."
        )


def _body(name: str, weights: Mapping[str, float], parts: list[type[Loss]]) -> dict[str, Any]:
    return {
        "__doc__": f"The sum {name}; each part has options of its own.",
        "__annotations__": {},
        "name": name,
        "needs": frozenset[Any]().union(*(part.needs for part in parts)),
        "unpaired": all(part.unpaired or "rejected" not in part.needs for part in parts)
        and any(part.unpaired for part in parts),
        "weights": weights,
    }
