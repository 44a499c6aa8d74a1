"""Scores as `scores.json` has them, and the change from one model to another."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any

import attrs

from cpt.config import BEFORE
from cpt.errors import BadData, WrongReturn
from cpt.files import ODD, json_text, read_json, write_text
from cpt.statistics import difference
from cpt.types import Missing, Score

LONGEST = 200
"""Characters of the reasons for what is missing."""
Scores = dict[str, dict[str, Score]]
"""By what was measured (`before`, `after`, a control), then by the name of the score."""

PROMPTS = "prompts"
"""The unit of a score that names no other."""
ROUND = "round_"
"""How the names of models between rounds begin."""


@attrs.frozen
class Meanings:
    """What the evaluators say of their scores: see `Evaluator`."""

    quality: tuple[str, ...] = ()
    """Names of scores of which a higher one means a better model."""
    side_effects: Mapping[str, str] = {}
    """Names of scores that should hardly change, each in words."""
    lower_is_better: tuple[str, ...] = ()
    """Names of scores of which a lower one means a better model."""


def write_scores(path: Path, scores: Scores, meanings: Meanings = Meanings()) -> None:
    """Write `scores.json`: every score, its change from `before`, and what scores mean."""
    plain = _plain(scores, _by_prompt) | {"meanings": attrs.asdict(meanings)}
    write_text(path, json_text(plain, indent=1))


def read_meanings(path: Path) -> Meanings:
    """What scores in a `scores.json` mean; nothing where none is said. Raises `BadData`."""
    plain = read_json(path)
    try:
        said = (plain or {}).get("meanings", {})
        return Meanings(
            tuple(said.get("quality", ())),
            dict(said.get("side_effects", {})),
            tuple(said.get("lower_is_better", ())),
        )
    except ODD as error:
        raise BadData(f"{path}: not the scores of a run ({error}).") from error


def summary_of(scores: Scores) -> dict[str, Any]:
    """The same as plain data without the values of single prompts."""
    return _plain(scores, lambda score: {"missing": dict(_reasons(score))})


def _plain(scores: Scores, more: Callable[[Score], dict[str, Any]]) -> dict[str, Any]:
    before = scores.get(BEFORE, {})
    return {
        "scores": {
            model: {name: numbers(score) | more(score) for name, score in named.items()}
            for model, named in scores.items()
        },
        "change": {
            model: {name: numbers(score) for name, score in changes(before, named).items()}
            for model, named in scores.items()
        },
    }


def read_scores(path: Path) -> Scores:
    """The scores in a `scores.json`, none if it is not there. Raises `BadData` if damaged."""
    plain = read_json(path)
    if plain is None:
        return {}
    try:
        return {
            model: {name: _score(score) for name, score in named.items()}
            for model, named in plain["scores"].items()
        }
    except (*ODD, WrongReturn) as error:
        raise BadData(f"{path}: not the scores of a run ({error}).") from error


def changes(before: Mapping[str, Score], after: Mapping[str, Score]) -> dict[str, Score]:
    """The mean change of each score, over the prompts that both sides have."""
    gaps = {name: difference(after[name], before[name]) for name in after if name in before}
    return {name: gap for name, gap in gaps.items() if gap is not None}


def measured(score: Score) -> str:
    """`9 of 12 prompts measured (2 failed, 1 unread; for example: ...)`."""
    details = (why.detail for why in score.missing.values() if why.detail)
    example = next((f"; for example: {detail.rstrip('.')}" for detail in details), "")
    reasons = ", ".join(f"{count} {reason}" for reason, count in _reasons(score).items())
    said = f" ({shorten(reasons + example, LONGEST)})" if reasons else ""
    return f"{score.n} of {score.of} {score.unit} measured{said}"


def _reasons(score: Score) -> Counter[str]:
    """How many prompts are missing for which reason."""
    return Counter(why.reason for why in score.missing.values())


def numbers(score: Score) -> dict[str, Any]:
    """A score as plain data; without an interval, its ends are null."""
    ends = {"low": score.low, "high": score.high}
    finite = {name: end if math.isfinite(end) else None for name, end in ends.items()}
    unit = {} if score.unit == PROMPTS else {"unit": score.unit}
    return {"value": score.value, **finite, "n": score.n, "of": score.of, **unit}


def _by_prompt(score: Score) -> dict[str, Any]:
    missing = {prompt: attrs.asdict(why) for prompt, why in score.missing.items()}
    return {"each": dict(score.each), "missing": missing}


def _score(plain: Mapping[str, Any]) -> Score:
    low, high = plain["low"], plain["high"]
    return Score(
        value=plain["value"],
        low=-math.inf if low is None else low,
        high=math.inf if high is None else high,
        each=plain.get("each", {}),
        missing={prompt: Missing(**why) for prompt, why in plain.get("missing", {}).items()},
        unit=plain.get("unit", PROMPTS),
    )
