"""Some pairs at a time as token ids, in arrays that are cheap to send and to join."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from tempfile import TemporaryFile
from typing import IO

import attrs
import numpy as np
from numpy.typing import NDArray

from cpt.training.data.columns.facts import text_of
from cpt.training.data.columns.table import STORED, Digests, Rows
from cpt.training.data.sequences import TokenIds, TokenSequence, digest_with, prompt_hash
from cpt.types import Pair
from cpt.types.batch import PairFacts

Indices = NDArray[np.int64]
Sides = tuple[TokenSequence | None, TokenSequence | None]
"""The chosen and the rejected sequence; unpaired data has one of them."""
ABSENT = -1
"""The index of a side that there is not."""


@attrs.frozen(eq=False, kw_only=True)
class Block:
    """Pairs, and every distinct sequence of them once."""

    ids: bytes
    """Token ids as they are stored; empty once they are in a file."""
    rows: Rows
    """Where each sequence is in `ids`."""
    prompt_of: Indices
    """Number of each sequence's prompt. Shape (sequences,)."""
    digests: Digests
    prompt_digests: Digests
    sides: Indices
    """Of each pair the number of its prompt, of its chosen and of its rejected side. Shape
    (pairs, 3)."""
    weights: NDArray[np.float64]
    facts: bytes
    """Lines of JSON; empty once they are in a file."""
    fact_sizes: Indices
    """Bytes of each line. Shape (pairs,)."""
    pairers: Sequence[str]

    @classmethod
    def of(cls, prepared: Iterable[tuple[Pair, Sides]], *, facts: bool) -> Block:
        """Pairs with their sides, with or without the facts of each."""
        found = _Found()
        for pair, sides in prepared:
            found.add(pair, sides)
            if facts:
                found.facts.append(text_of(PairFacts.of(pair)) + b"\n")
        return found.block()


@attrs.define
class _Found:
    """What a block is made of, as it comes."""

    ids: list[bytes] = attrs.field(factory=list)
    size: int = 0
    prompts: dict[bytes, tuple[int, int, int]] = attrs.field(factory=dict)
    """Number, begin and length of each prompt by its digest."""
    sequences: dict[bytes, int] = attrs.field(factory=dict)
    rows: list[tuple[int, int, int, int]] = attrs.field(factory=list)
    prompt_of: list[int] = attrs.field(factory=list)
    sides: list[tuple[int, int, int]] = attrs.field(factory=list)
    weights: list[float] = attrs.field(factory=list)
    facts: list[bytes] = attrs.field(factory=list)
    pairers: dict[str, None] = attrs.field(factory=dict)

    def add(self, pair: Pair, both: Sides) -> None:
        ids = next(side.prompt for side in both if side)
        hashed = prompt_hash(ids)
        if hashed.digest() not in self.prompts:
            self.prompts[hashed.digest()] = (len(self.prompts), *self._stored(ids))
        prompt = self.prompts[hashed.digest()]
        numbers = (
            self._sequence(digest_with(hashed, side.answer), side, prompt) if side else ABSENT
            for side in both
        )
        chosen, rejected = numbers
        self.sides.append((prompt[0], chosen, rejected))
        self.weights.append(pair.weight)
        if pair.pairer:
            self.pairers[pair.pairer] = None

    def _sequence(self, digest: bytes, side: TokenSequence, prompt: tuple[int, int, int]) -> int:
        if digest not in self.sequences:
            self.sequences[digest] = len(self.rows)
            self.rows.append((*prompt[1:], *self._stored(side.answer)))
            self.prompt_of.append(prompt[0])
        return self.sequences[digest]

    def _stored(self, ids: TokenIds) -> tuple[int, int]:
        """Where these ids begin, and their number."""
        start = self.size
        self.ids.append(ids.astype(STORED).tobytes())
        self.size += len(ids)
        return start, len(ids)

    def block(self) -> Block:
        return Block(
            ids=b"".join(self.ids),
            rows=np.array(self.rows, dtype=np.int64).reshape(-1, 4),
            prompt_of=np.array(self.prompt_of, dtype=np.int64),
            digests=np.array(list(self.sequences), dtype="S16"),
            prompt_digests=np.array(list(self.prompts), dtype="S16"),
            sides=np.array(self.sides, dtype=np.int64).reshape(-1, 3),
            weights=np.array(self.weights, dtype=np.float64),
            facts=b"".join(self.facts),
            fact_sizes=np.array([len(line) for line in self.facts], dtype=np.int64),
            pairers=list(self.pairers),
        )


@attrs.define(eq=False)
class Files:
    """The two files of a corpus: token ids, and the facts of its pairs."""

    ids: IO[bytes]
    facts: IO[bytes]
    size: int = 0
    """Token ids so far."""

    @classmethod
    def unnamed(cls) -> Files:
        """Files of which nothing is left, whatever happens."""
        return cls(TemporaryFile(), TemporaryFile())

    def add(self, block: Block) -> Block:
        """Write what of a block belongs into files, and return the rest of it."""
        self.ids.write(block.ids)
        self.facts.write(block.facts)
        rows = block.rows + np.array([self.size, 0, self.size, 0])
        self.size += len(block.ids) // STORED.itemsize
        return attrs.evolve(block, ids=b"", facts=b"", rows=rows)

    def flush(self) -> None:
        self.ids.flush()
        self.facts.flush()


def _moved(sides: Indices, by: Indices) -> Indices:
    return np.where(sides == ABSENT, ABSENT, sides + by)


def joined(blocks: Sequence[Block]) -> Block:
    """One block of all, without what is in files; what they have in common is in it as often."""
    prompts = np.cumsum([0, *(len(block.prompt_digests) for block in blocks)])
    sequences = np.cumsum([0, *(len(block.rows) for block in blocks)])
    return Block(
        ids=b"",
        rows=np.concatenate([block.rows for block in blocks]),
        prompt_of=np.concatenate(
            [block.prompt_of + before for block, before in zip(blocks, prompts, strict=False)]
        ),
        digests=np.concatenate([block.digests for block in blocks]),
        prompt_digests=np.concatenate([block.prompt_digests for block in blocks]),
        sides=np.concatenate(
            [
                _moved(block.sides, np.array([prompt, sequence, sequence]))
                for block, prompt, sequence in zip(blocks, prompts, sequences, strict=False)
            ]
        ),
        weights=np.concatenate([block.weights for block in blocks]),
        facts=b"",
        fact_sizes=np.concatenate([block.fact_sizes for block in blocks]),
        pairers=list(dict.fromkeys(name for block in blocks for name in block.pairers)),
    )
