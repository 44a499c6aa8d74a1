"""A world of small tasks whose right answers are known."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, cached_property
from hashlib import sha256
from random import Random
from typing import Literal

import attrs

from cpt_lab.families import FAMILIES, Facts, Family

Split = Literal["test", "dev", "train", "study"]
"""`study` is what models are made from; the others are held out from it and from each other."""

SPLITS: tuple[Split, ...] = ("test", "dev", "train", "train") + ("study",) * 12
SLIPS = 0.4
"""Wrong facts for each habitual flaw."""


@attrs.frozen
class Task:
    """One task: a family and its given facts."""

    family: Family
    given: Facts

    @cached_property
    def found(self) -> Facts:
        """What a right answer has to say."""
        return self.family.solve(self.given) or self.given

    @property
    def facts(self) -> Facts:
        """All facts, given and found."""
        return {**self.given, **self.found}

    @property
    def right_answers(self) -> tuple[str, ...]:
        """Every answer that is beyond reproach."""
        return tuple(wording.format(**self.facts) for wording in self.family.answers)

    @property
    def split(self) -> Split:
        """Where it belongs, whichever way it is put."""
        text = f"{self.family.name} {sorted(self.given.items())}"
        return SPLITS[sha256(text.encode()).digest()[0] % len(SPLITS)]


def draw(split: Split, random: Random) -> Iterator[Task]:
    """Yield tasks of a split without end; they may repeat."""
    families = list(FAMILIES.values())
    while True:
        family = random.choice(families)
        task = Task(family, family.draw(random))
        if task.split == split:
            yield task


def ask(task: Task, random: Random) -> str:
    """Put the task in one of its wordings."""
    return random.choice(task.family.asks).format(**task.given)


def read(text: str) -> Task | None:
    """Find the task that a text puts, if it is one of this world."""
    for family, pattern in _asks():
        if match := pattern.fullmatch(text):
            return Task(family, match.groupdict())
    return None


def write(task: Task, random: Random, flaws: float = 0.0) -> str:
    """Answer in one of the good wordings, flawed as often as `flaws` and the family's lean say."""
    facts = dict(task.facts)
    if random.random() < flaws * SLIPS:
        slot = random.choice(list(task.found))
        facts[slot] = Task(task.family, task.family.draw(random)).facts[slot]
    answer = random.choice(task.family.answers).format(**facts)
    habitual = flaws > 0 and random.random() < flaws + task.family.lean
    return task.family.habit(answer) if habitual else answer


@cache
def _asks() -> list[tuple[Family, re.Pattern[str]]]:
    return [(family, form(wording, {})) for family in FAMILIES.values() for wording in family.asks]


def form(wording: str, known: Facts) -> re.Pattern[str]:
    """Compile a wording with the known facts in their slots and any word in the others."""

    def slot(place: re.Match[str]) -> str:
        return re.escape(known[place[1]]) if place[1] in known else rf"(?P<{place[1]}>\w+)"

    return re.compile(re.sub(r"\\\{(\w+)\\\}", slot, re.escape(wording)))
