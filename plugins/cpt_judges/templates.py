"""What a judge is asked: requests with named places, ours or of a file of the user's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import cpt
from cpt import paths
from cpt.files import read_text


def load(template: str, default: str, needed: Sequence[str]) -> str:
    """The text of a template file, or ours where none is named. Raises `CptError`.

    It must have every place that is `needed`: `{task}`.
    """
    if not template:
        return default
    path = Path(paths.resolve(template))
    text = read_text(path, "the template")
    if absent := [place for place in needed if place not in text]:
        raise cpt.CptError(
            f"{path}: the template lacks {', '.join(absent)}; write each where its text belongs."
        )
    return text.rstrip("\n") + "\n"


def joined(question: str, ending: str) -> str:
    """A question with how to reply below it; ours, which breaks no line, with that in the same."""
    return f"{question}\n{ending.lstrip()}" if question.endswith("\n") else question + ending


def fill(template: str, texts: Mapping[str, str]) -> str:
    """A template with texts in their places, whatever these say themselves."""
    places = "|".join(map(re.escape, texts))
    return re.sub(places, lambda place: texts[place[0]], template)
