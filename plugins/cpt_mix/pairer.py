"""Pairs of several pairers, in given parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from random import Random
from typing import Any

import attrs
from attrs.validators import min_len

import cpt


def _check_values(mix: Mix, field: attrs.Attribute[Any], values: Sequence[str]) -> None:
    if bool(values) != bool(mix.by):
        raise ValueError(f"{field.name!r} must be given together with `by`")
    _check_count(mix, field, values)
    if len(set(values)) < len(values):
        raise ValueError(f"{field.name!r} must differ, got {', '.join(values)}")


def _check_weights(mix: Mix, field: attrs.Attribute[Any], weights: Sequence[float]) -> None:
    if weights and mix.by:
        raise ValueError(f"{field.name!r} must be left out where `by` says the part; give `keep`")
    _check_count(mix, field, weights)
    if weights and (min(weights) <= 0 or abs(sum(weights) - 1) > 1e-6):
        raise ValueError(f"{field.name!r} must be above 0 and add up to 1, got {_listed(weights)}")


def _check_keep(mix: Mix, field: attrs.Attribute[Any], keep: Sequence[float]) -> None:
    _check_count(mix, field, keep)
    if not all(0 < share <= 1 for share in keep):
        raise ValueError(f"{field.name!r} must be above 0 and at most 1, got {_listed(keep)}")


def _check_count(mix: Mix, field: attrs.Attribute[Any], given: Sequence[Any]) -> None:
    if given and len(given) != len(mix.pairers):
        each = f"one for each of {len(mix.pairers)} pairers"
        raise ValueError(f"{field.name!r} must be {each}, got {len(given)}")


def _listed(numbers: Sequence[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


@attrs.frozen
class Mix(cpt.Pairer):
    """Pair every prompt by one of several pairers: drawn by weight, or as a column says.

    What is drawn depends on the prompt's id and the seed alone, so parts stay the same whatever
    other prompts there are. A file of pairs is a part, too: `human:FILE`. Tiers and margins are in
    the unit of the part that made the pair.
    """

    name = "mix"
    pairers: tuple[cpt.Pairer, ...] = attrs.field(validator=min_len(2))
    """The parts; repeat the flag for several."""
    weights: tuple[float, ...] = attrs.field(default=(), validator=_check_weights)
    """The probability of each part, all together 1; without it and without `by`, equal ones."""
    by: str = ""
    """The column of the prompts that says the part: source, domain, round, ..."""
    values: tuple[str, ...] = attrs.field(default=(), validator=_check_values)
    """What the column `by` holds for each part; `*` is any other value."""
    keep: tuple[float, ...] = attrs.field(default=(), validator=_check_keep)
    """The share of each part's prompts that is used, from 0 to 1; without it, all. Prompts that are
    not are counted as `left_out`."""
    seed: int = 0
    """What is drawn is drawn from this and the prompt's id."""

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Sequence[cpt.Pair | cpt.NoPair]:
        random = Random(f"{self.seed} {prompt.id}")
        part = self._named(prompt) if self.by else self._drawn(random.random())
        if self.keep and random.random() >= self.keep[part]:
            raise cpt.NoPair("left_out", f"part {part} keeps {self.keep[part]:g} of its prompts")
        made = await self.pairers[part].pair(prompt, ask)
        return list(self._signed(made, part))

    def _drawn(self, number: float) -> int:
        """The part that a number from 0 to 1 falls into."""
        weights = self.weights or [1 / len(self.pairers)] * len(self.pairers)
        ends = list(accumulate(weights))
        return next((part for part, end in enumerate(ends) if number < end), len(ends) - 1)

    def _named(self, prompt: cpt.Prompt) -> int:
        """The part that the prompt's column says. Raises `NoPair`."""
        value = str(prompt.info.get(self.by, ""))
        for named in (value, "*"):
            if named in self.values:
                return self.values.index(named)
        there = ", ".join(self.values)
        raise cpt.NoPair("no_part", f"its {self.by} is {value!r:.60}; the parts are {there}")

    def _signed(
        self, made: Sequence[cpt.Pair | cpt.NoPair], part: int
    ) -> Iterator[cpt.Pair | cpt.NoPair]:
        """The same, with the part that made each."""
        label = self.values[part] if self.by else part
        about = {"part": label, "part_pairer": self.pairers[part].name}
        for one in made:
            if isinstance(one, cpt.NoPair):
                yield one
            else:
                yield attrs.evolve(one, pairer=self.name, info={**one.info, **about})
