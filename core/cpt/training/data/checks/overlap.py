"""Prompts that a model will be evaluated on, and must not be trained on."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from cpt.types import Prompt

WINDOW = 13
"""Words in a row that two texts do not share by chance (arXiv 2005.14165, appendix C)."""
WORD = re.compile(r"\w+")


@attrs.frozen
class Evaluated:
    """Hashes of prompts: of every window of 13 words, and of shorter prompts as a whole."""

    windows: frozenset[int]
    wholes: frozenset[int]

    @classmethod
    def of(cls, prompts: Iterable[Prompt]) -> Evaluated:
        windows: set[int] = set()
        wholes: set[int] = set()
        for prompt in prompts:
            words = _words(prompt)
            wholes.add(hash(words))
            windows.update(_windows(words))
        return cls(frozenset(windows), frozenset(wholes))

    def has(self, prompt: Prompt) -> bool:
        """Whether a prompt is one of them, or shares 13 words in a row with one."""
        words = _words(prompt)
        return hash(words) in self.wholes or not self.windows.isdisjoint(_windows(words))


def _words(prompt: Prompt) -> tuple[str, ...]:
    asked = (turn.content for turn in prompt.messages if turn.role == "user")
    return tuple(WORD.findall(" ".join(asked).lower()))


def _windows(words: tuple[str, ...]) -> Iterable[int]:
    return (hash(words[at : at + WINDOW]) for at in range(len(words) - WINDOW + 1))
