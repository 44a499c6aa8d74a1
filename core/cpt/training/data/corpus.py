"""The pairs of a training as token ids, every distinct sequence once."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import numpy as np
from numpy.typing import NDArray

from cpt.errors import CptError
from cpt.training.data.rows import Row, begun, key, key_from
from cpt.types import Pair

Indices = NDArray[np.int64]


@attrs.frozen(eq=False, kw_only=True)
class Corpus:
    """Pairs, and where in the list of sequences their two sides are."""

    pairs: Sequence[Pair]
    sequences: Sequence[Row]
    """Every distinct prompt with every distinct answer to it."""
    keys: Sequence[bytes]
    """The `reference.key` of each sequence."""
    prompts: Indices
    """Which distinct prompt each pair has. Shape (pairs,)."""
    chosen: Indices
    """Shape (pairs,)."""
    rejected: Indices
    """Shape (pairs,)."""


def corpus_of(pairs: Sequence[Pair], rows: Sequence[tuple[Row, Row]]) -> Corpus:
    """Number the distinct prompts of pairs, and the distinct sequences among their two rows."""
    prompts: dict[bytes, int] = {}
    sequences: dict[bytes, Row] = {}
    asked: list[int] = []
    sides: list[tuple[bytes, bytes]] = []
    for chosen, rejected in rows:
        prompt = begun(chosen.prompt)
        asked.append(prompts.setdefault(prompt.digest(), len(prompts)))
        better, worse = key_from(prompt, chosen.answer), key_from(prompt, rejected.answer)
        sequences.setdefault(better, chosen)
        sequences.setdefault(worse, rejected)
        sides.append((better, worse))
    places = {name: place for place, name in enumerate(sequences)}
    return Corpus(
        pairs=pairs,
        sequences=list(sequences.values()),
        keys=list(sequences),
        prompts=np.array(asked, dtype=np.int64),
        chosen=np.array([places[better] for better, _ in sides], dtype=np.int64),
        rejected=np.array([places[worse] for _, worse in sides], dtype=np.int64),
    )


def mismatch(
    corpus: Corpus, order: Sequence[Sequence[int]], longest: int
) -> tuple[Corpus, list[list[int]]]:
    """For each place in the order, its prompt with the chosen answer to another prompt.

    The other is the next in the batch that has another prompt, else the first of all pairs; its
    answer is cut where both together would have more than `longest` tokens. Returns the corpus
    with these sequences added, and their places. Raises `CptError` if all pairs have one prompt.
    """
    sequences = list(corpus.sequences)
    numbers: dict[tuple[int, int], int] = {}

    def number(pair: int, other: int) -> int:
        both = (int(corpus.prompts[pair]), int(corpus.chosen[other]))
        if both not in numbers:
            numbers[both] = len(sequences)
            prompt = corpus.sequences[corpus.chosen[pair]].prompt
            answer = corpus.sequences[corpus.chosen[other]].answer
            sequences.append(Row(prompt, answer[: longest - len(prompt)]))
        return numbers[both]

    placed = [
        [number(pair, _other(corpus, batch, at)) for at, pair in enumerate(batch)]
        for batch in order
    ]
    keys = [*corpus.keys, *(key(row) for row in sequences[len(corpus.keys) :])]
    return attrs.evolve(corpus, sequences=sequences, keys=keys), placed


def _other(corpus: Corpus, batch: Sequence[int], at: int) -> int:
    prompt = corpus.prompts[batch[at]]
    elsewhere = np.flatnonzero(corpus.prompts != prompt)[:1].tolist()
    for other in [*batch[at + 1 :], *batch[:at], *elsewhere]:
        if corpus.prompts[other] != prompt:
            return int(other)
    raise CptError("This loss sets a prompt beside the answer to another, but all pairs share one.")
