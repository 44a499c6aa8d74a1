"""What is wrong with pairs because of other pairs: 16 bytes and its id for each."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cpt.training.data.findings import MOST_KEPT, Finding
from cpt.types import Message, Pair

NO_CHOSEN, NO_REJECTED = 0, 1
"""Keys of the side that a single answer lacks."""
Mask = NDArray[np.bool_]
"""Shape (pairs,)."""


def _key(prompt: blake2b, answer: Message) -> int:
    """64 bits of a prompt with an answer."""
    digest = prompt.copy()
    digest.update(answer.content.strip().encode())
    if answer.reasoning_content or answer.tool_calls:
        digest.update(repr((answer.reasoning_content, answer.tool_calls)).encode())
    return int.from_bytes(digest.digest(), "little")


def _prompt(pair: Pair) -> blake2b:
    digest = blake2b(digest_size=8)
    for turn in pair.prompt.messages:
        digest.update(f"{turn.role}\0{turn.content.strip()}\0".encode())
    return digest


@attrs.define(eq=False)
class Across:
    """Every answer of every pair, by its key, and the ids of the pairs."""

    chosen: array[int] = attrs.field(factory=lambda: array("Q"))
    rejected: array[int] = attrs.field(factory=lambda: array("Q"))
    ids: bytearray = attrs.field(factory=bytearray)
    ends: array[int] = attrs.field(factory=lambda: array("Q"))

    def add(self, pair: Pair) -> None:
        prompt = _prompt(pair)
        self.chosen.append(NO_CHOSEN if pair.label is False else _key(prompt, pair.chosen.message))
        self.rejected.append(NO_REJECTED if pair.label else _key(prompt, pair.rejected.message))
        self.ids += pair.id.encode()
        self.ends.append(len(self.ids))

    def merge(self, later: Across) -> None:
        """Count pairs that come after these."""
        self.chosen.extend(later.chosen)
        self.rejected.extend(later.rejected)
        self.ends.extend(len(self.ids) + end for end in later.ends)
        self.ids += later.ids

    def masks(self) -> dict[str, Mask]:
        """Which pairs are repeated, contradicted, or share an answer that is both."""
        better, worse = (np.asarray(side, dtype=np.uint64) for side in (self.chosen, self.rejected))
        same = better * np.uint64(0x9E3779B97F4A7C15) + worse
        turned = worse * np.uint64(0x9E3779B97F4A7C15) + better
        _, first = np.unique(same, return_index=True)
        repeated = np.ones(len(same), dtype=bool)
        repeated[first] = False
        contradicted = np.isin(same, turned)
        both = (np.isin(better, worse) | np.isin(worse, better)) & ~contradicted
        return {"repeated": repeated, "contradicted": contradicted, "both_ways": both}

    def findings(self, problem: str, mask: Mask) -> Iterator[Finding]:
        """The first pairs of a mask."""
        for place in np.flatnonzero(mask)[:MOST_KEPT].tolist():
            yield Finding(self._id(place), problem)

    def _id(self, place: int) -> str:
        start = self.ends[place - 1] if place else 0
        return self.ids[start : self.ends[place]].decode()


def length_finding(contrast: dict[str, Any]) -> tuple[int, Finding] | None:
    """How many pairs are too many whose label length alone tells; None if it does not."""
    pairs, longer = contrast["pairs"], contrast["longer_is_chosen"]
    surplus, effect = contrast["length_surplus"], contrast["length_effect"]
    if not pairs or round(surplus * pairs) < LEAST_SURPLUS or surplus < TELLING_SURPLUS:
        return None
    if effect is not None and abs(effect) < TELLING_EFFECT:
        return None
    detail = f"the chosen side is longer in {longer:.1%}, AUC {contrast['length_auc']:.2f}"
    effect_says = "" if effect is None else f", effect size {effect:.2f}"
    return round(surplus * pairs), Finding("", "length_tells", detail + effect_says)


LEAST_SURPLUS = 10
"""Pairs that are more than chance."""
TELLING_SURPLUS = 0.4
"""Share of the pairs: the longer side is chosen in more than 70%, or in less than 30%."""
TELLING_EFFECT = 0.5
"""Cohen's d of a medium effect."""
