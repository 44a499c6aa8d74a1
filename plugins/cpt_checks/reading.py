"""Reading what an answer says: a letter, a number, or words. What is not certain is not read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

ALONE = r"\W*([A-Z])\W*"
SAID = (
    r"(?i:answer|option|choice)\s*+(?:(?i:is|would be|letter)\s*+)*+[:=]?\s*+[*(\[\"'`]*+([A-Z])\b"
)
FIRST = r"\s*[*(\[]*([A-Z])[.):\]]"
NUMBER = r"-?\d[\d,]*(?:\.\d+)?"
ARTICLES = {"a", "an", "the"}


def read_letter(text: str, options: Sequence[str]) -> str | None:
    """The letter of the option that an answer names; None if it names none, or several."""
    known = ascii_uppercase[: len(options)]
    if alone := re.fullmatch(ALONE, text):
        return alone[1] if alone[1] in known else None
    if said := {letter for letter in re.findall(SAID, text) if letter in known}:
        return said.pop() if len(said) == 1 else None
    if first := re.match(FIRST, text):
        return first[1] if first[1] in known else None
    same = [
        letter
        for letter, option in zip(known, options, strict=True)
        if normalised(option) and normalised(option) == normalised(text)
    ]
    return same[0] if len(same) == 1 else None


def is_right(text: str, targets: Sequence[str], *, exact: bool = False) -> bool:
    """Whether a free answer is one of the targets, or has one among its words.

    A number is compared as a number: with the last one in the answer.
    """
    return any(_matches(text, target, exact=exact) for target in targets)


def _matches(text: str, target: str, *, exact: bool) -> bool:
    if re.fullmatch(NUMBER, target.strip()):
        said = re.findall(NUMBER, text)
        return bool(said) and _number(said[-1]) == _number(target)
    wanted, words = normalised(target), normalised(text)
    if exact or not wanted:
        return wanted == words
    return any(words[at : at + len(wanted)] == wanted for at in range(len(words)))


def normalised(text: str) -> list[str]:
    """Its words in lower case, without marks and articles."""
    return [word for word in re.findall(r"\w+", text.lower()) if word not in ARTICLES]


def _number(text: str) -> float:
    return float(text.replace(",", ""))
