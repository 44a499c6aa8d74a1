"""OpenAI's batch endpoint: requests go up in a file, answers and errors come down in two."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, Final

import openai
from openai.types import Batch

from cpt import AskError, Denied, Malformed, Overloaded, Rejected, Response, Unreachable
from cpt.service import (
    BatchItem,
    chat_response,
    http_error,
    item_of,
    lines_of,
    read_json,
    words,
)
from cpt_openai.sdk import client, translated

if TYPE_CHECKING:
    from cpt_openai.responder import OpenAI

URL: Final = "/v1/chat/completions"
MARK = "cpt"
"""The metadata that a batch is found again by."""
OVER = frozenset({"completed", "failed", "expired", "cancelled"})
CLOCKS_DIFFER = 2 * 86400.0
"""Seconds, as much as where a clock was a day off: a batch that is not found is paid for again."""
UPLOAD = 600.0
"""Seconds that a file may take."""


async def submit(responder: OpenAI, name: str, items: Sequence[BatchItem]) -> str:
    """Send a batch; its id."""
    sdk = client(responder)
    with TemporaryFile() as lines, translated(responder):
        lines.writelines(_line(responder, item) for item in items)
        lines.seek(0)
        content = f"{name}.jsonl", lines
        file = await sdk.files.create(file=content, purpose="batch", timeout=UPLOAD)
        made = await sdk.batches.create(
            input_file_id=file.id, endpoint=URL, completion_window="24h", metadata={MARK: name}
        )
        return made.id


def _line(responder: OpenAI, item: BatchItem) -> bytes:
    body = responder.body(item.prompt, item.sample)
    request = {"custom_id": item.key, "method": "POST", "url": URL, "body": body}
    return json.dumps(request, ensure_ascii=False).encode() + b"\n"


async def find(responder: OpenAI, name: str, since: float) -> list[str]:
    """The id of the batch that bears this name, if it arrived."""
    with translated(responder):
        async for batch in client(responder).batches.list(limit=100):
            if (batch.metadata or {}).get(MARK) == name:
                return [batch.id]
            if batch.created_at < since - CLOCKS_DIFFER:
                break
    return []


async def ended(responder: OpenAI, remote: str) -> bool:
    """Whether nothing more will come. Raises `Rejected` if there is no such batch."""
    with translated(responder):
        return (await _retrieve(responder, remote)).status in OVER


async def _retrieve(responder: OpenAI, remote: str) -> Batch:
    with translated(responder):
        try:
            return await client(responder).batches.retrieve(remote)
        except openai.NotFoundError:
            raise Rejected(f"the provider knows no batch {remote}") from None


async def results(
    responder: OpenAI, remote: str, items: Mapping[str, BatchItem]
) -> AsyncIterator[tuple[str, Response | AskError]]:
    """What became of each request that the batch got to."""
    batch = await _retrieve(responder, remote)
    with translated(responder):
        refused = _refused(batch, list(items)) if batch.status == "failed" else []
        files = [file for file in (batch.output_file_id, batch.error_file_id) if file]
    for key, error in refused:
        yield key, error
    for file in files:
        with translated(responder):
            async with client(responder).files.with_streaming_response.content(file) as reply:
                async for line in lines_of(reply.iter_bytes()):
                    result = read_json(line)
                    if item := item_of(result, items):
                        yield item.key, _result(responder, result, item)


def _result(responder: OpenAI, line: Mapping[str, Any], item: BatchItem) -> Response | AskError:
    try:
        reply = line.get("response")
        if not reply:
            return Unreachable(str((line.get("error") or {}).get("message", "no answer")))
        if reply["status_code"] >= 400:
            return http_error(reply["status_code"], {}, reply.get("body"))
        return chat_response(reply["body"], item.prompt, responder.author)
    except AskError as error:
        return error
    except (AttributeError, LookupError, TypeError):
        return Malformed(f"what came back is not a result of a batch: {words(line)}")


def _refused(batch: Batch, keys: Sequence[str]) -> list[tuple[str, AskError]]:
    """A batch that the provider would not start: some lines are at fault, or none."""
    errors = (batch.errors and batch.errors.data) or []
    if any(error.code == "token_limit_exceeded" for error in errors):
        return [(key, Overloaded(str(errors[0].message))) for key in keys]
    if not errors or any(error.line is None for error in errors):
        words = "; ".join(str(error.message) for error in errors) or "no reason given"
        raise Denied(f"batch {batch.id} was refused: {words}")
    refused = {error.line: Rejected(str(error.message)) for error in errors}
    return [(key, refused[line]) for line, key in enumerate(keys, start=1) if line in refused]
