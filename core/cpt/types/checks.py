"""What the records of `cpt.types` must hold; each check raises `WrongReturn`."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite, isnan
from operator import index
from typing import Any

import attrs

from cpt.errors import WrongReturn


def is_a(kind: type[Any]) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """A validator of attrs: the field of a `Pair` is of this kind."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if not isinstance(value, kind):
            raise WrongReturn(f"Pair.{field.name} must be a {kind.__name__}, got {value!r:.60}.")

    return check


def is_measured(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """A validator of attrs: the field of a `Pair` is a finite number, or None."""
    try:
        if value is None or isfinite(float(value)):
            return
    except (TypeError, ValueError, OverflowError):
        pass
    raise WrongReturn(f"Pair.{field.name} must be a finite number, got {value!r:.60}.")


def is_label(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """A validator of attrs: the field of a `Pair` is True, False or None."""
    if value is not None and not isinstance(value, bool):
        raise WrongReturn(f"Pair.{field.name} must be True, False or None, got {value!r:.60}.")


def is_probability(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """A validator of attrs: the field of a `Comparison` is from 0 to 1, or None."""
    if value is not None and not (_is_finite(value) and 0 <= value <= 1):
        raise WrongReturn(f"Comparison.{field.name} must be from 0 to 1, got {value!r:.60}.")


def is_weight(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """A validator of attrs: the field of a `Comparison` is a finite number above 0, or None."""
    if value is not None and not (_is_finite(value) and value > 0):
        raise WrongReturn(f"Comparison.{field.name} must be above 0, got {value!r:.60}.")


def is_whole(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """A validator of attrs: the field of a `Pair` is a whole number that a tensor holds."""
    if not hasattr(value, "__index__") or not -(2**63) <= index(value) < 2**63:
        raise WrongReturn(
            f"Pair.{field.name} must be a whole number of 64 bits, got {value!r:.60}."
        )


def has_finite_scores(_: Any, field: attrs.Attribute[Any], scores: Any) -> None:
    """A validator of attrs: the scores of a `Verdict`."""
    if not isinstance(scores, tuple):
        raise WrongReturn(f"Verdict.scores must be a tuple, one score a response, got {scores!r}.")
    for score in scores:
        if score is not None and not _is_finite(score):
            raise WrongReturn(
                f"Verdict.scores must be finite numbers, or None for no score, got {score!r}."
            )


def has_its_interval(score: Any) -> None:
    """The numbers of a `Score` fit each other."""
    ends = (score.low, score.high)
    if not _is_finite(score.value) or not all(_is_number(end) and not isnan(end) for end in ends):
        raise WrongReturn(f"{score}: must have numbers, and a finite value.")
    if not isinstance(score.unit, str):
        raise WrongReturn(f"{score}: its unit must be a word, not {score.unit!r}.")
    if not score.low <= score.value <= score.high:
        raise WrongReturn(f"{score}: the value must be in its interval.")
    if len(score.each) > 1 and not all(map(isfinite, ends)):
        raise WrongReturn(f"{score}: the interval of {len(score.each)} values must be finite.")
    for prompt, value in score.each.items():
        if not _is_finite(value):
            raise WrongReturn(
                f"{score}: the value of prompt {prompt!r} is {value!r}, not a number."
            )
    for prompt in score.each.keys() & score.missing.keys():
        raise WrongReturn(f"{score}: prompt {prompt!r} has a value and is missing, too.")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_number(value) and isfinite(value)
