"""Anthropic's Message Batches: requests go up in one call, results come down in one file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import anthropic
from anthropic.types.messages import MessageBatch

from cpt import AskError, Malformed, Rejected, Response, Unreachable
from cpt.service import STATUS, BatchItem, http_error, item_of, lines_of, read_json, words
from cpt_anthropic.messages import read
from cpt_anthropic.sdk import client, translated

if TYPE_CHECKING:
    from cpt_anthropic.responder import Anthropic

CLOCKS_DIFFER = 600.0
"""Seconds."""
LATEST = 7200.0
"""Seconds from when a batch was about to be sent to when it has arrived, on the slowest line."""
UPLOAD = 600.0
"""Seconds that a whole batch may take to be sent."""


async def submit(responder: Anthropic, items: Sequence[BatchItem]) -> str:
    """Send a batch; its id."""
    requests: Any = [
        {"custom_id": item.key, "params": responder.body(item.prompt)} for item in items
    ]
    with translated(responder):
        made = await client(responder).messages.batches.create(requests=requests, timeout=UPLOAD)
        return made.id


async def find(responder: Anthropic, count: int, since: float) -> list[str]:
    """Batches of so many requests from that time: they keep no name, only their results tell."""
    found = []
    with translated(responder):
        async for batch in client(responder).messages.batches.list(limit=100):
            later = batch.created_at.timestamp() - since
            if later < -CLOCKS_DIFFER:
                break
            counts = batch.request_counts.model_dump().values()
            size = sum(count for count in counts if isinstance(count, int))
            if size == count and later < LATEST + CLOCKS_DIFFER:
                found.append(batch.id)
    return found


async def ended(responder: Anthropic, remote: str) -> bool:
    """Whether nothing more will come. Raises `Rejected` if there is no such batch."""
    with translated(responder):
        return (await _retrieve(responder, remote)).processing_status == "ended"


async def _retrieve(responder: Anthropic, remote: str) -> MessageBatch:
    with translated(responder):
        try:
            batch = await client(responder).messages.batches.retrieve(remote)
        except anthropic.NotFoundError:
            raise Rejected(f"the provider knows no batch {remote}") from None
        if batch.archived_at:
            raise Rejected(f"the provider kept the results of batch {remote} no longer")
        return batch


async def results(
    responder: Anthropic, remote: str, items: Mapping[str, BatchItem]
) -> AsyncIterator[tuple[str, Response | AskError]]:
    """What became of each request of the batch."""
    batches = client(responder).messages.batches.with_streaming_response
    with translated(responder):
        async with batches.results(remote) as reply:
            async for line in lines_of(reply.iter_bytes()):
                result = read_json(line)
                if item := item_of(result, items):
                    yield item.key, _result(responder, result, item)


def _result(responder: Anthropic, line: Mapping[str, Any], item: BatchItem) -> Response | AskError:
    try:
        result = line["result"]
        if result["type"] == "errored":
            error = result["error"]
            return http_error(STATUS.get(error["error"]["type"], 500), {}, error)
        if result["type"] != "succeeded":
            return Unreachable(f"{result['type']} before it was answered")
        return read(result["message"], item.prompt, responder.author)
    except AskError as error:
        return error
    except (AttributeError, LookupError, TypeError):
        return Malformed(f"what came back is not a result of a batch: {words(line)}")
