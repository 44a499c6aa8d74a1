"""The pairs that the page lets a reader search: packed, as they are many."""

from __future__ import annotations

import gzip
from base64 import b64encode
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.files import as_written, json_text
from cpt.report.read.pairs import spread
from cpt.secrets import scrub

MOST = 5_000
"""Pairs in a page."""
LARGEST = 5_000_000
"""Bytes of the packed pairs: a page that can be sent."""
LONGEST = 6_000
"""Characters of a text."""
PLAIN = ("id", "tier", "margin", "pairer", "chosen_author", "rejected_author")
COLUMNS = [
    *("prompt", "chosen", "rejected", "rationale", "scores"),
    *PLAIN,
]


@attrs.frozen(kw_only=True)
class Browser:
    """Pairs for the page."""

    pairs: int
    of: int
    """Pairs of the run."""
    packed: str
    """JSON, compressed with gzip, in base64."""


def read_browser(run: Path, seed: int) -> Browser | None:
    """As many pairs as a page holds, drawn evenly; None if there are none."""
    import pyarrow.parquet as pq

    path = run / "pairs.parquet"
    if not path.exists():
        return None
    with as_written(path), pq.ParquetFile(path) as file:
        count = file.metadata.num_rows
        wanted = min(count, MOST)
        while wanted:
            packed = _packed(list(_rows(file, set(spread(count, wanted, seed)))))
            if len(packed) <= LARGEST:
                return Browser(pairs=wanted, of=count, packed=packed)
            wanted //= 2
    return None


def _rows(file: Any, chosen: set[int]) -> Iterator[dict[str, Any]]:
    start = 0
    for batch in file.iter_batches(batch_size=256, columns=COLUMNS):
        for index in range(len(batch)):
            if start + index in chosen:
                (row,) = batch.slice(index, 1).to_pylist()  # `take` would load pandas
                yield _row(row)
        start += len(batch)


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    scores = row["scores"] or {}
    return {
        **{name: _clean(row[name]) for name in PLAIN},
        "chosen_score": scores.get("chosen"),
        "rejected_score": scores.get("rejected"),
        "prompt": [[turn["role"], _text(turn["content"])] for turn in row["prompt"]],
        "chosen": _text("\n\n".join(turn["content"] for turn in row["chosen"] or ())),
        "rejected": _text("\n\n".join(turn["content"] for turn in row["rejected"] or ())),
        "rationale": _text(row["rationale"] or ""),
    }


def _clean(value: Any) -> Any:
    return scrub(value) if isinstance(value, str) else value


def _text(text: str) -> str:
    clean = scrub(text)
    return clean if len(clean) <= LONGEST else f"{clean[:LONGEST]} […]"


def _packed(rows: list[dict[str, Any]]) -> str:
    return b64encode(gzip.compress(json_text(rows).encode(), mtime=0)).decode()
