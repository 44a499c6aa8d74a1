"""The pairs of a training as token ids, every distinct sequence once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import attrs
import numpy as np
from numpy.typing import NDArray

from cpt.errors import CptError
from cpt.training.data.columns.blocks import ABSENT, Block, Files, Sides, joined
from cpt.training.data.columns.facts import Facts, FactsOfPairs, StoredFacts
from cpt.training.data.columns.table import Digests, Sequences, TokenFile
from cpt.types import Pair
from cpt.types.stored import Stored, taken

Indices = NDArray[np.int64]


@attrs.frozen(eq=False, kw_only=True)
class Corpus:
    """Pairs, and the sequences that they are made of."""

    pairs: Sequence[Pair]
    facts: Facts
    """What a loss sees of each pair."""
    weights: NDArray[np.float64]
    """`Pair.weight` of each pair. Shape (pairs,)."""
    pairers: Sequence[str]
    """Who made the pairs."""
    sequences: Sequences
    """Every distinct prompt with every distinct answer to it."""
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


@attrs.frozen(eq=False, kw_only=True)
class Arrays:
    """All of a corpus but its pairs and what is in files."""

    rows: Indices
    prompt_of: Indices
    digests: Digests
    prompts: Indices
    chosen: Indices
    rejected: Indices
    kept: Indices
    """The place of each pair among those that were prepared. Shape (pairs,)."""
    weights: NDArray[np.float64]
    fact_ends: Indices
    pairers: NDArray[np.str_]

    @classmethod
    def of(cls, blocks: Sequence[Block], kept: Indices) -> Arrays:
        """Of the blocks of all pairs, in their order, without what they have in common."""
        whole = joined(blocks)
        first, number = _distinct(whole.digests)
        _, prompt_number = _distinct(whole.prompt_digests)
        prompts, chosen, rejected = whole.sides.T
        return cls(
            rows=whole.rows[first],
            prompt_of=prompt_number[whole.prompt_of[first]],
            digests=whole.digests[first],
            prompts=prompt_number[prompts],
            chosen=_renumbered(chosen, number),
            rejected=_renumbered(rejected, number),
            kept=kept,
            weights=whole.weights,
            fact_ends=np.concatenate([[0], np.cumsum(whole.fact_sizes)]),
            pairers=np.array(whole.pairers, dtype=np.str_),
        )

    def corpus(self, pairs: Sequence[Pair], files: Files) -> Corpus:
        """The corpus of what was kept of the pairs that were prepared."""
        left = taken(pairs, self.kept)
        stored = isinstance(pairs, Stored)
        return Corpus(
            pairs=left,
            facts=StoredFacts(files.facts, self.fact_ends) if stored else FactsOfPairs(left),
            weights=self.weights,
            pairers=self.pairers.tolist(),
            sequences=Sequences(
                ids=TokenFile(files.ids),
                rows=self.rows,
                prompts=self.prompt_of,
                digests=self.digests,
            ),
            prompts=self.prompts,
            chosen=self.chosen,
            rejected=self.rejected,
        )


def _distinct(digests: Digests) -> tuple[Indices, Indices]:
    """Where each distinct digest comes first, in that order, and the number of each one."""
    _, first, number = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[number]


def _renumbered(sides: Indices, number: Indices) -> Indices:
    there = sides != ABSENT
    found = np.full_like(sides, ABSENT)
    found[there] = number[sides[there]]
    return found


def corpus_of(prepared: Iterable[tuple[Pair, Sides]]) -> Corpus:
    """The corpus of pairs in memory, each with its sides."""
    both = list(prepared)
    files = Files.unnamed()
    block = files.add(Block.of(both, facts=False))
    files.flush()
    return Arrays.of([block], np.arange(len(both))).corpus([pair for pair, _ in both], files)


def mismatch(
    corpus: Corpus, order: Sequence[Sequence[int]], longest: int
) -> tuple[Corpus, list[list[int]]]:
    """For each pair of each batch, its prompt with the chosen (or only) answer to another prompt.

    The other pair is the next one in the batch with another prompt, else the first of all pairs
    with another prompt. Its answer is cut where both together would have more than `longest`
    tokens. Returns the corpus with these sequences added, and the index of the sequence for each
    pair of each batch. Raises `CptError` if all pairs have one prompt.
    """
    others = _Others.of(corpus)
    known: dict[tuple[int, int], int] = {}
    rows: list[list[int]] = []
    prompts: list[int] = []

    def index_of(pair: int, other: int) -> int:
        prompt, answer = corpus.answer_of(pair), corpus.answer_of(other)
        key = (int(corpus.prompts[pair]), answer)
        if key not in known:
            known[key] = len(corpus.sequences) + len(rows)
            start, length = corpus.sequences.rows[prompt, :2].tolist()
            begin, said = corpus.sequences.rows[answer, 2:].tolist()
            rows.append([start, length, begin, min(said, longest - length)])
            prompts.append(key[0])
        return known[key]

    mismatched = [
        [index_of(pair, others.of_pair(batch, position)) for position, pair in enumerate(batch)]
        for batch in order
    ]
    added = np.array(rows, dtype=np.int64).reshape(-1, 4)
    sequences = corpus.sequences.with_rows(added, np.array(prompts, dtype=np.int64))
    return attrs.evolve(corpus, sequences=sequences), mismatched


@attrs.frozen
class _Others:
    """Pairs with other prompts."""

    prompts: Indices
    elsewhere: int | None
    """The first pair whose prompt is not that of the first pair, if there is one."""

    @classmethod
    def of(cls, corpus: Corpus) -> _Others:
        found = np.flatnonzero(corpus.prompts != corpus.prompts[0])[:1].tolist()
        return cls(corpus.prompts, *(found or [None]))

    def of_pair(self, batch: Sequence[int], position: int) -> int:
        prompt = self.prompts[batch[position]]
        for other in (*batch[position + 1 :], *batch[:position], 0, self.elsewhere):
            if other is not None and self.prompts[other] != prompt:
                return int(other)
        raise CptError(
            "This loss compares a prompt with the answer to another one, but all pairs have the "
            "same prompt; add pairs with other prompts, or choose another --loss."
        )
