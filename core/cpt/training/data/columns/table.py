"""Token sequences that lie on the disk: a file of ids, and where in it each begins and ends."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import IO, overload

import attrs
import numpy as np
from numpy.typing import NDArray

from cpt.training.data.sequences import TokenIds, TokenSequence, digest_with, prompt_hash

Digests = NDArray[np.bytes_]
"""Of type S16. Shape (sequences,)."""
Rows = NDArray[np.int64]
"""Begin and length of the prompt, begin and length of the answer. Shape (sequences, 4)."""
STORED = np.dtype("<i4")
"""How ids are stored."""
MOST_RECENT = 4096
"""Sequences that are kept in memory: one step asks several times for the same."""
NO_TAIL: TokenIds = np.empty(0, dtype=np.int64)


@attrs.frozen(eq=False)
class TokenFile:
    """Token ids, one after the other, in a file.

    They are read, not mapped: what was mapped would count as memory of this process.
    """

    file: IO[bytes]

    def read(self, start: int, length: int) -> NDArray[np.int32]:
        size = STORED.itemsize
        found = os.pread(self.file.fileno(), length * size, start * size)
        return np.frombuffer(found, dtype=STORED)


@attrs.frozen(eq=False, kw_only=True)
class Sequences(Sequence[TokenSequence]):
    """Token sequences, each read from the disk when it is asked for."""

    ids: TokenFile
    rows: Rows
    prompts: NDArray[np.int64]
    """Number of each sequence's prompt, the same for the same token ids. Shape (sequences,)."""
    digests: Digests
    """The digest of each sequence."""
    tail: TokenIds = NO_TAIL
    """Ids that come after each answer. Shape (tokens,)."""
    _recent: dict[int, TokenSequence] = attrs.field(factory=dict, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> TokenSequence: ...
    @overload
    def __getitem__(self, index: slice) -> list[TokenSequence]: ...
    def __getitem__(self, index: int | slice) -> TokenSequence | list[TokenSequence]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        found = self._recent.get(index)
        if found is None:
            found = self._read(index)
            if len(self._recent) >= MOST_RECENT:
                self._recent.clear()
            self._recent[index] = found
        return found

    def _read(self, index: int) -> TokenSequence:
        prompt, prompt_length, answer, answer_length = self.rows[index].tolist()
        said = self.ids.read(answer, answer_length)
        return TokenSequence(
            self.ids.read(prompt, prompt_length),
            np.concatenate([said, self.tail]) if len(self.tail) else said,
        )

    @property
    def answer_lengths(self) -> NDArray[np.int64]:
        """Tokens in each answer. Shape (sequences,)."""
        return self.rows[:, 3] + len(self.tail)

    @property
    def input_lengths(self) -> NDArray[np.int64]:
        """`TokenSequence.input_length` of each. Shape (sequences,)."""
        return self.rows[:, 1] + self.answer_lengths - 1

    def prompt_bytes(self, index: int) -> bytes:
        """The ids of a prompt, as its `TokenSequence` has them."""
        start, length = self.rows[index, :2].tolist()
        return self.ids.read(start, length).astype(np.int64).tobytes()

    def with_rows(self, rows: Rows, prompts: NDArray[np.int64]) -> Sequences:
        """The same with these after them, which are made of the same ids."""
        more = Sequences(
            ids=self.ids, rows=rows, prompts=prompts, digests=self.digests[:0], tail=self.tail
        )
        return attrs.evolve(
            self,
            rows=np.concatenate([self.rows, rows]),
            prompts=np.concatenate([self.prompts, prompts]),
            digests=np.concatenate([self.digests, digests_of(more)]),
        )

    def with_tail(self, tail: TokenIds) -> Sequences:
        """The same with these ids after each answer."""
        longer = attrs.evolve(self, tail=tail)
        return attrs.evolve(longer, digests=digests_of(longer))


def digests_of(sequences: Sequence[TokenSequence]) -> Digests:
    """Computed from their ids."""
    found = (digest_with(prompt_hash(one.prompt), one.answer) for one in sequences)
    return np.fromiter(found, dtype="S16", count=len(sequences))
