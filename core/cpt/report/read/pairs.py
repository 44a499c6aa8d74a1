"""What the pairs look like: by author and tier, as distributions, and a few of them in full."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import attrs

from cpt.report.read.diff import Text, compare, cut
from cpt.service.credentials import scrub

EXAMPLES = 6
MEASURED = 1_000
"""Pairs whose edit distance is measured, at most."""
COMPARED = 20_000
"""Characters beyond which an answer's edit distance is not measured."""
PROMPT_SHOWN = 800
COLUMNS = [
    *("prompt", "chosen", "rejected", "id", "tier", "margin"),
    *("chosen_author", "rejected_author", "rationale"),
]


@attrs.frozen(kw_only=True)
class Group:
    """The pairs of the same two authors and the same tier."""

    chosen_author: str
    rejected_author: str
    tier: int
    pairs: int
    margin: float | None
    """Mean over the pairs that have one."""
    chosen_length: float
    """Mean, in characters."""
    rejected_length: float
    chosen_longer: int
    """Pairs whose chosen side has more characters."""


@attrs.frozen(kw_only=True)
class Example:
    """One pair as it is."""

    id: str
    tier: int
    margin: float | None
    prompt: tuple[tuple[str, Text], ...]
    """Every message: who says it, and what."""
    chosen_author: str
    rejected_author: str
    chosen: Text
    rejected: Text
    rationale: Text | None


@attrs.frozen(kw_only=True)
class Pairs:
    """All that is said about `pairs.parquet`."""

    groups: tuple[Group, ...]
    """Most frequent first."""
    margins: tuple[float, ...]
    """Of the pairs that have one."""
    gaps: tuple[int, ...]
    """Characters of chosen less those of rejected."""
    distances: tuple[float, ...]
    """Share of characters to change between the sides, of pairs spread evenly over the file."""
    too_long: int
    """Pairs of those that were left out, as an answer has more than `COMPARED` characters."""
    distance_is_margin: bool
    """Whether the pairer's margin is that very distance."""
    examples: tuple[Example, ...]

    @property
    def count(self) -> int:
        return len(self.gaps)


def read_pairs(run: Path, seed: int) -> Pairs | None:
    """Read the pairs once, whole; None if there are none."""
    import pyarrow.parquet as pq

    path = run / "pairs.parquet"
    if not path.exists():
        return None
    with pq.ParquetFile(path) as file:
        count = file.metadata.num_rows
        shown = set(spread(count, EXAMPLES, seed))
        measured = set(spread(count, MEASURED, seed))
        return _summed_up(_rows(file), shown, measured) if count else None


def spread(count: int, wanted: int, seed: int) -> list[int]:
    """Indices that nobody picked: one drawn from each of `wanted` equal parts."""
    draw = Random(seed)
    parts = min(count, wanted)
    edges = [count * part // parts for part in range(parts + 1)] if parts else [0]
    return [draw.randrange(low, high) for low, high in pairwise(edges)]


def _rows(file: Any) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(batch_size=256, columns=COLUMNS):
        yield from batch.to_pylist()


def _summed_up(rows: Iterator[dict[str, Any]], shown: set[int], measured: set[int]) -> Pairs:
    gaps: list[int] = []
    margins: list[float] = []
    distances: list[float] = []
    same: list[bool] = []
    groups: dict[tuple[str, str, int], list[tuple[float | None, int, int]]] = defaultdict(list)
    examples: list[Example] = []
    for index, row in enumerate(rows):
        chosen, rejected = _text(row["chosen"]), _text(row["rejected"])
        margin = row["margin"]
        gaps.append(len(chosen) - len(rejected))
        key = (row["chosen_author"] or "", row["rejected_author"] or "", row["tier"] or 0)
        groups[key].append((margin, len(chosen), len(rejected)))
        if margin is not None:
            margins.append(margin)
        if index in measured and max(len(chosen), len(rejected)) <= COMPARED:
            distances.append(_distance(chosen, rejected))
            same.append(margin is not None and abs(margin - distances[-1]) < 1e-9)
        if index in shown:
            examples.append(_example(row, chosen, rejected))
    made = [_group(key, members) for key, members in groups.items()]
    return Pairs(
        groups=tuple(sorted(made, key=lambda group: -group.pairs)),
        margins=tuple(margins),
        gaps=tuple(gaps),
        distances=tuple(distances),
        too_long=len(measured) - len(distances),
        distance_is_margin=bool(same) and all(same),
        examples=tuple(examples),
    )


def _text(messages: Sequence[Mapping[str, str]]) -> str:
    return "\n\n".join(each["content"] for each in messages)


def _distance(one: str, other: str) -> float:
    from rapidfuzz.distance.Levenshtein import normalized_distance

    return float(normalized_distance(one, other))


def _group(key: tuple[str, str, int], members: Sequence[tuple[float | None, int, int]]) -> Group:
    margins = [margin for margin, _, _ in members if margin is not None]
    return Group(
        chosen_author=key[0],
        rejected_author=key[1],
        tier=key[2],
        pairs=len(members),
        margin=fmean(margins) if margins else None,
        chosen_length=fmean(chosen for _, chosen, _ in members),
        rejected_length=fmean(rejected for _, _, rejected in members),
        chosen_longer=sum(chosen > rejected for _, chosen, rejected in members),
    )


def _example(row: Mapping[str, Any], chosen: str, rejected: str) -> Example:
    better, worse = compare(scrub(chosen), scrub(rejected))
    return Example(
        id=row["id"] or "",
        tier=row["tier"] or 0,
        margin=row["margin"],
        prompt=tuple((each["role"], cut(each["content"], PROMPT_SHOWN)) for each in row["prompt"]),
        chosen_author=row["chosen_author"] or "",
        rejected_author=row["rejected_author"] or "",
        chosen=better,
        rejected=worse,
        rationale=cut(row["rationale"], PROMPT_SHOWN) if row["rationale"] else None,
    )
