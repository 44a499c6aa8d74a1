"""Sets that are nearly the same, among a million: MinHash, and bands of it sorted by numpy.

The signatures are datasketch's, and so is the choice of bands. Its index of them would take
kilobytes for a set, where the numbers themselves take half of one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from cpt_filters.texts import optional

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECALL = (0.1, 0.9)
"""How bad a needless comparison and a missed one are when bands are chosen."""


def firsts(sets: Iterable[Iterable[bytes]], similarity: float, permutations: int) -> NDArray[Any]:
    """For each set, the index of the first set of its group. Shape (sets,).

    Two sets are in a group if their estimated Jaccard similarity is at least `similarity`, or if
    others lead from one to the other.
    """
    import numpy as np

    lsh = optional("datasketch").MinHashLSH(similarity, permutations, weights=RECALL)
    signatures = _signatures(sets, permutations)
    first = np.arange(len(signatures))
    for start in range(0, lsh.b * lsh.r, lsh.r):
        for candidates in _equal_rows(signatures[:, start : start + lsh.r]):
            _join(candidates, signatures, similarity, first)
    for place in range(len(first)):  # what it leads to is settled: it comes before
        first[place] = first[first[place]]
    return first


def _signatures(sets: Iterable[Iterable[bytes]], permutations: int) -> NDArray[Any]:
    """The MinHash of each set. Shape (sets, permutations)."""
    import numpy as np

    empty = optional("datasketch").MinHash(permutations, hashfunc=_hash)
    values = bytearray()
    for values_of_set in sets:
        minhash = empty.copy()
        minhash.update_batch(list(values_of_set))
        values += minhash.hashvalues.astype(np.uint32).tobytes()
    return np.frombuffer(values, np.uint32).reshape(-1, permutations)


def _hash(value: bytes) -> int:
    return int.from_bytes(value[:4], "little")


def _equal_rows(rows: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """The indices of rows that are equal, in order; a few of them may not be."""
    import numpy as np

    odd = 2 * np.arange(1, rows.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + 1
    keys = (rows * odd).sum(1, dtype=np.uint64)
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    starts = np.concatenate([[0], ends])
    sizes = np.diff(np.concatenate([starts, [len(keys)]]))
    for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
        yield order[start : start + size]


def _join(
    candidates: NDArray[Any], signatures: NDArray[Any], similarity: float, first: NDArray[Any]
) -> None:
    """Join those that are similar; `first` leads each to one before it, or to itself."""
    while len(candidates) > 1:
        one, others = candidates[0], candidates[1:]
        same = (signatures[others] == signatures[one]).mean(1) >= similarity
        for other in others[same]:
            a, b = sorted((_root(first, int(one)), _root(first, int(other))))
            first[b] = a
        candidates = others[~same]


def _root(first: NDArray[Any], place: int) -> int:
    while first[place] != place:
        first[place] = first[first[place]]
        place = int(first[place])
    return place
