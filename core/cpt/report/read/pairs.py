"""The pairs of a run: counts by author and tier, distributions, and a few pairs in full."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from statistics import fmean
from typing import Any

import attrs

from cpt.files import as_written
from cpt.report.read.diff import MarkedText, compare, cut
from cpt.secrets import scrub

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
class PairGroup:
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
class PairExample:
    """One pair, for reading."""

    id: str
    tier: int
    margin: float | None
    prompt: tuple[tuple[str, MarkedText], ...]
    """Role and content of every message."""
    chosen_author: str
    rejected_author: str
    chosen: MarkedText
    rejected: MarkedText
    rationale: MarkedText | None


@attrs.frozen(kw_only=True)
class PairSummary:
    """What the report says about `pairs.parquet`."""

    groups: tuple[PairGroup, ...]
    """Most frequent first."""
    margins: tuple[float, ...]
    """Of the pairs that have one."""
    gaps: tuple[int, ...]
    """Characters of the chosen side minus characters of the rejected side, for every pair."""
    distances: tuple[float, ...]
    """Edit distance over the longer length, from 0 to 1, of pairs spread evenly over the file."""
    too_long: int
    """Pairs without a distance, because an answer has more than `COMPARED` characters."""
    distance_is_margin: bool
    """Whether the pairer's margins are these distances."""
    examples: tuple[PairExample, ...]

    @property
    def count(self) -> int:
        return len(self.gaps)


def read_pairs(run: Path, seed: int) -> PairSummary | None:
    """Read all pairs; None if there are none."""
    import pyarrow.parquet as pq

    path = run / "pairs.parquet"
    if not path.exists():
        return None
    with as_written(path), pq.ParquetFile(path) as file:
        count = file.metadata.num_rows
        shown = set(spread(count, EXAMPLES, seed))
        measured = set(spread(count, MEASURED, seed))
        return _summarized(_rows(file), shown, measured) if count else None


def spread(count: int, wanted: int, seed: int) -> list[int]:
    """Random indices below `count`, in order: one from each of `wanted` equal parts."""
    draw = Random(seed)
    parts = min(count, wanted)
    edges = [count * part // parts for part in range(parts + 1)] if parts else [0]
    return [draw.randrange(low, high) for low, high in pairwise(edges)]


def _rows(file: Any) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(batch_size=256, columns=COLUMNS):
        yield from batch.to_pylist()


def _summarized(rows: Iterator[dict[str, Any]], shown: set[int], measured: set[int]) -> PairSummary:
    gaps: list[int] = []
    margins: list[float] = []
    distances: list[float] = []
    same: list[bool] = []
    groups: dict[tuple[str, str, int], list[tuple[float | None, int, int]]] = defaultdict(list)
    examples: list[PairExample] = []
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
    grouped = [_group(key, members) for key, members in groups.items()]
    return PairSummary(
        groups=tuple(sorted(grouped, key=lambda group: -group.pairs)),
        margins=tuple(margins),
        gaps=tuple(gaps),
        distances=tuple(distances),
        too_long=len(measured) - len(distances),
        distance_is_margin=bool(same) and all(same),
        examples=tuple(examples),
    )


def _text(messages: Sequence[Mapping[str, str]] | None) -> str:
    """What an answer says; nothing on the side that unpaired data lacks."""
    return "\n\n".join(message["content"] for message in messages or ())


def _distance(one: str, other: str) -> float:
    from rapidfuzz.distance.Levenshtein import normalized_distance

    return float(normalized_distance(one, other))


def _group(
    key: tuple[str, str, int], members: Sequence[tuple[float | None, int, int]]
) -> PairGroup:
    margins = [margin for margin, _, _ in members if margin is not None]
    return PairGroup(
        chosen_author=key[0],
        rejected_author=key[1],
        tier=key[2],
        pairs=len(members),
        margin=fmean(margins) if margins else None,
        chosen_length=fmean(chosen for _, chosen, _ in members),
        rejected_length=fmean(rejected for _, _, rejected in members),
        chosen_longer=sum(chosen > rejected for _, chosen, rejected in members),
    )


def _example(row: Mapping[str, Any], chosen: str, rejected: str) -> PairExample:
    better, worse = compare(scrub(chosen), scrub(rejected))
    return PairExample(
        id=row["id"] or "",
        tier=row["tier"] or 0,
        margin=row["margin"],
        prompt=tuple(
            (message["role"], cut(message["content"], PROMPT_SHOWN)) for message in row["prompt"]
        ),
        chosen_author=row["chosen_author"] or "",
        rejected_author=row["rejected_author"] or "",
        chosen=better,
        rejected=worse,
        rationale=cut(row["rationale"], PROMPT_SHOWN) if row["rationale"] else None,
    )
