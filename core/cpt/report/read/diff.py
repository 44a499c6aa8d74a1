"""The words in which two answers differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

import attrs

COMPARED = 20_000
"""Characters of each answer that are compared; more would make a report slow."""
SHOWN = 1_500
"""Characters of each answer that are shown."""
_WORD = re.compile(r"\s+|[\u3040-\u30ff\u3400-\u9fff]|\w+|[^\w\s]")

Block = tuple[slice, slice]
"""A run of words of the one, and the same words in the other."""


@attrs.frozen
class MarkedText:
    """The beginning of a text, in pieces; a marked piece is not in the text it is compared with."""

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


def cut(text: str, shown: int = SHOWN) -> MarkedText:
    """The beginning of a text, nothing marked."""
    return MarkedText(((text[:shown], False),), len(text))


def compare(one: str, other: str, shown: int = SHOWN) -> tuple[MarkedText, MarkedText]:
    """Both texts, with the words marked that are not in the other at that place."""
    from rapidfuzz.distance import Indel

    words = [_WORD.findall(text[:COMPARED]) for text in (one, other)]
    same = [
        (slice(step.src_start, step.src_end), slice(step.dest_start, step.dest_end))
        for step in Indel.opcodes(*words)
        if step.tag == "equal"
    ]
    blocks = _long_enough(same, *map(len, words))
    ours, theirs = ([block[side] for block in blocks] for side in (0, 1))
    return (
        MarkedText(tuple(_shown(words[0], ours, shown)), len(one)),
        MarkedText(tuple(_shown(words[1], theirs, shown)), len(other)),
    )


def _long_enough(same: Sequence[Block], one: int, other: int) -> list[Block]:
    """The blocks that are longer than the difference before them or the one after them.

    Two texts on one topic share many single words, such as `the`, by chance.
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
    """Pieces that together are the first `limit` characters."""
    at = 0
    for piece, marked in _pieces(words, same):
        if taken := piece[: limit - at]:
            yield taken, marked and not taken.isspace()
        at += len(taken)


def _pieces(words: Sequence[str], same: Sequence[slice]) -> Iterator[tuple[str, bool]]:
    end = 0
    for block in [*same, slice(len(words), len(words))]:
        if end < block.start:
            yield "".join(words[end : block.start]), True
        if block.start < block.stop:
            yield "".join(words[block]), False
        end = block.stop
