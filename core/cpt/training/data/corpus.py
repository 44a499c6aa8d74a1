"""The pairs of a training as token ids, every distinct sequence once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import attrs
import numpy as np
from numpy.typing import NDArray

from cpt.errors import CptError
from cpt.training.data.sequences import TokenSequence, digest_with, prompt_hash
from cpt.types import Pair

Indices = NDArray[np.int64]
Sides = tuple[TokenSequence | None, TokenSequence | None]
"""The chosen and the rejected sequence; unpaired data has one of them."""
ABSENT = -1
"""The index of a side that there is not."""


@attrs.frozen(eq=False, kw_only=True)
class Corpus:
    """Pairs, and the sequences that they are made of."""

    pairs: Sequence[Pair]
    sequences: Sequence[TokenSequence]
    """Every distinct prompt with every distinct answer to it."""
    digests: Sequence[bytes]
    """The digest of each sequence."""
    prompts: Indices
    """Number of each pair's prompt, the same for the same token ids. Shape (pairs,)."""
    chosen: Indices
    """Index into `sequences` of each pair's chosen side, or `ABSENT`. Shape (pairs,)."""
    rejected: Indices
    """Index into `sequences` of each pair's rejected side, or `ABSENT`. Shape (pairs,)."""

    @cached_property
    def is_unpaired(self) -> bool:
        """Whether some pair has one side alone."""
        return bool(((self.chosen == ABSENT) | (self.rejected == ABSENT)).any())

    def answer_of(self, pair: int) -> int:
        """Index into `sequences` of the chosen side, or of the only one."""
        chosen = int(self.chosen[pair])
        return int(self.rejected[pair]) if chosen == ABSENT else chosen


def corpus_of(prepared: Iterable[tuple[Pair, Sides]]) -> Corpus:
    """The corpus of pairs, each with its sides."""
    pairs: list[Pair] = []
    prompts: dict[bytes, int] = {}
    sequences: dict[bytes, TokenSequence] = {}
    prompt_numbers: list[int] = []
    digests: list[list[bytes]] = []
    for pair, both in prepared:
        pairs.append(pair)
        prompt = prompt_hash(next(side.prompt for side in both if side))
        prompt_numbers.append(prompts.setdefault(prompt.digest(), len(prompts)))
        digests.append([digest_with(prompt, side.answer) if side else b"" for side in both])
        for digest, side in zip(digests[-1], both, strict=True):
            if side:
                sequences.setdefault(digest, side)
    index = {digest: number for number, digest in enumerate(sequences)} | {b"": ABSENT}
    return Corpus(
        pairs=pairs,
        sequences=list(sequences.values()),
        digests=list(sequences),
        prompts=np.array(prompt_numbers, dtype=np.int64),
        chosen=np.array([index[better] for better, _ in digests], dtype=np.int64),
        rejected=np.array([index[worse] for _, worse in digests], dtype=np.int64),
    )


def mismatch(
    corpus: Corpus, order: Sequence[Sequence[int]], longest: int
) -> tuple[Corpus, list[list[int]]]:
    """For each pair of each batch, its prompt with the chosen (or only) answer to another prompt.

    The other pair is the next one in the batch with another prompt, else the first of all pairs
    with another prompt. Its answer is cut where both together would have more than `longest`
    tokens. Returns the corpus with these sequences added, and the index of the sequence for each
    pair of each batch. Raises `CptError` if all pairs have one prompt.
    """
    sequences = list(corpus.sequences)
    known: dict[tuple[int, int], int] = {}

    def index_of(pair: int, other: int) -> int:
        prompt_and_answer = (int(corpus.prompts[pair]), corpus.answer_of(other))
        if prompt_and_answer not in known:
            known[prompt_and_answer] = len(sequences)
            prompt = corpus.sequences[corpus.answer_of(pair)].prompt
            answer = corpus.sequences[corpus.answer_of(other)].answer
            sequences.append(TokenSequence(prompt, answer[: longest - len(prompt)]))
        return known[prompt_and_answer]

    mismatched = [
        [index_of(pair, _other(corpus, batch, position)) for position, pair in enumerate(batch)]
        for batch in order
    ]
    added = sequences[len(corpus.digests) :]
    digests = [*corpus.digests, *(sequence.digest for sequence in added)]
    return attrs.evolve(corpus, sequences=sequences, digests=digests), mismatched


def _other(corpus: Corpus, batch: Sequence[int], position: int) -> int:
    prompt = corpus.prompts[batch[position]]
    elsewhere = np.flatnonzero(corpus.prompts != prompt)[:1].tolist()
    for other in [*batch[position + 1 :], *batch[:position], *elsewhere]:
        if corpus.prompts[other] != prompt:
            return int(other)
    raise CptError(
        "This loss compares a prompt with the answer to another one, but all pairs have the same "
        "prompt; add pairs with other prompts, or choose another --loss."
    )
