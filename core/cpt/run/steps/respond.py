"""Prompts and a responder to answers: what `cpt respond` does."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from cpt.asking import Asker, in_order
from cpt.asking.journal.journal import Paid
from cpt.asking.options import Asking
from cpt.files import atomic
from cpt.roles import Responder, Service
from cpt.types import Prompt

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetWriter

CHUNK = 2**20
"""Bytes of JSON that are written together."""

Answer = tuple[Prompt, int, Paid]
"""A prompt, the number of the sample, and what was answered."""


def respond(
    prompts: Iterable[Prompt],
    responder: Responder,
    output: Path,
    *,
    samples: int = 1,
    asking: Asking | None = None,
    total: int | None = None,
) -> dict[str, Any]:
    """Ask every prompt, `samples` times, and write `responses.parquet` in their order.

    Returns counts as plain data; `unfinished` is how many another run would ask again, `reasons`
    an example of each outcome that has one. Raises `CptError` if it was stopped: the answers so
    far are in `journal.sqlite`.
    """
    asking = asking or Asking()
    return asyncio.run(_respond(prompts, responder, output, samples, asking, total))


async def _respond(
    prompts: Iterable[Prompt],
    responder: Responder,
    output: Path,
    samples: int,
    asking: Asking,
    total: int | None,
) -> dict[str, Any]:
    requests = ((prompt, sample) for prompt in prompts for sample in range(samples))
    journal = output / "journal.sqlite"
    answers = total * samples if total is not None else None
    outcomes: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    async with Asker(journal, options=asking, stage="responses", total=answers) as ask:

        async def one(request: tuple[Prompt, int]) -> Answer:
            return *request, await ask.paid(responder, *request)

        with _writing(output / "responses.parquet") as table:
            async for answer in in_order(requests, one, _at_once(responder, asking)):
                ask.advance()
                response = answer[2].response
                outcomes[response.outcome] += 1
                if response.detail:
                    why = f"prompt {response.prompt_id}: {response.detail}"
                    reasons.setdefault(response.outcome, why)
                table.add(_row(*answer))
    counts = {"responses": outcomes.total(), "outcomes": dict(outcomes), **ask.stats.plain()}
    return {**counts, "reasons": reasons}


def _at_once(responder: Responder, asking: Asking) -> int:
    """As many as keep the service busy while others of them wait for the disk or a retry."""
    most = responder.concurrency if isinstance(responder, Service) else 1
    return max(asking.under_way, 2 * most)


def _row(prompt: Prompt, sample: int, paid: Paid) -> dict[str, Any]:
    response = paid.response
    return {
        "id": prompt.id,
        "sample": sample,
        "text": response.text,
        "author": response.author,
        "outcome": response.outcome,
        "finish_reason": response.finish_reason,
        "detail": response.detail,
        "input_tokens": response.usage.input_tokens,
        "cached_tokens": response.usage.cached_tokens,
        "output_tokens": response.usage.output_tokens,
        "cost": paid.cost,
        "prompt": [{"role": turn.role, "content": turn.content} for turn in prompt.messages],
    }


@contextmanager
def _writing(path: Path) -> Iterator[_Table]:
    """A table that is whole or not there."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    text, count = pa.string(), pa.int64()
    schema = pa.schema(
        {
            **{"id": text, "sample": count},
            **dict.fromkeys(("text", "author", "outcome", "finish_reason", "detail"), text),
            **dict.fromkeys(("input_tokens", "cached_tokens", "output_tokens"), count),
            "cost": pa.float64(),
            "prompt": pa.list_(pa.struct({"role": text, "content": text})),
        }
    )
    with atomic(path) as temporary, ParquetWriter(temporary, schema) as writer:
        table = _Table(writer)
        yield table
        table.flush()


@attrs.define
class _Table:
    """A Parquet file that is being written, and the JSON of the rows that come next in it."""

    writer: ParquetWriter
    lines: bytearray = attrs.field(factory=bytearray)

    def add(self, row: dict[str, Any]) -> None:
        self.lines += json.dumps(row, ensure_ascii=False).encode() + b"\n"
        if len(self.lines) >= CHUNK:
            self.flush()

    def flush(self) -> None:
        if not self.lines:
            return
        from pyarrow import BufferReader
        from pyarrow.json import ParseOptions, ReadOptions, read_json

        # By way of JSON: every other way from Python's objects loads pandas, and 60 MB with it.
        whole = ReadOptions(use_threads=False, block_size=len(self.lines) + 1)
        schema = ParseOptions(explicit_schema=self.writer.schema)
        self.writer.write_table(read_json(BufferReader(self.lines), whole, schema))
        self.lines = bytearray()
