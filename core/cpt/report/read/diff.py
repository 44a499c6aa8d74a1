"""Which words two answers do not share."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import attrs

COMPARED = 20_000
"""Characters of each answer that are compared; more would make a page slow."""
SHOWN = 1_500
"""Characters of each answer that are shown."""
_WORD = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")

Block = tuple[slice, slice]
"""Words of the one that are those of the other."""


@attrs.frozen
class Text:
    """The beginning of a text, in pieces that the other text has or has not."""

    pieces: tuple[tuple[str, bool], ...]
    """Each with whether it is marked."""
    length: int
    """Characters of the whole text."""

    @property
    def shown(self) -> int:
        return sum(len(piece) for piece, _ in self.pieces)

    @property
    def is_cut(self) -> bool:
        return self.shown < self.length


def cut(text: str, shown: int = SHOWN) -> Text:
    """The beginning of a text, nothing marked."""
    return Text(((text[:shown], False),), len(text))


def compare(one: str, other: str, shown: int = SHOWN) -> tuple[Text, Text]:
    """Both texts, with the words marked that are not in the other at that place."""
    from rapidfuzz.distance import Indel

    words = [_WORD.findall(text[:COMPARED]) for text in (one, other)]
    same = [
        (slice(each.src_start, each.src_end), slice(each.dest_start, each.dest_end))
        for each in Indel.opcodes(*words)
        if each.tag == "equal"
    ]
    blocks = _that_mean_something(same, *(len(each) for each in words))
    ours, theirs = ([block[side] for block in blocks] for side in (0, 1))
    return (
        Text(tuple(_shown(words[0], ours, shown)), len(one)),
        Text(tuple(_shown(words[1], theirs, shown)), len(other)),
    )


def _that_mean_something(same: Sequence[Block], one: int, other: int) -> list[Block]:
    """The blocks that are not lost between longer differences on both of their sides.

    Two texts about one thing share many a `the` that says nothing about what was kept.
    """
    kept: list[Block] = []
    before = (0, 0)
    for block, following in pairwise([*same, (slice(one, one), slice(other, other))]):
        size = block[0].stop - block[0].start
        gaps = (
            max(block[side].start - before[side] for side in (0, 1)),
            max(following[side].start - block[side].stop for side in (0, 1)),
        )
        if size > min(gaps):
            kept.append(block)
            before = (block[0].stop, block[1].stop)
    return kept


def _shown(words: Sequence[str], same: Sequence[slice], limit: int) -> Iterator[tuple[str, bool]]:
    """Pieces that together are the first so many characters."""
    at = 0
    for piece, marked in _pieces(words, same):
        if taken := piece[: limit - at]:
            yield taken, marked and not taken.isspace()
        at += len(taken)


def _pieces(words: Sequence[str], same: Sequence[slice]) -> Iterator[tuple[str, bool]]:
    end = 0
    for each in [*same, slice(len(words), len(words))]:
        if end < each.start:
            yield "".join(words[end : each.start]), True
        if each.start < each.stop:
            yield "".join(words[each]), False
        end = each.stop
