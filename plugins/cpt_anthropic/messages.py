"""Anthropic's messages: what an answer says."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from cpt import Malformed, Outcome, Prompt, Response, Usage
from cpt.service import body_error, ended, token_count, words


def read(
    body: Any, prompt: Prompt, author: str, headers: Mapping[str, str] = MappingProxyType({})
) -> Response:
    """The answer in a message. Raises `Malformed` if it is none, or the error that it reports."""
    try:
        text = "".join(block["text"] for block in body["content"] if block["type"] == "text")
    except (AttributeError, KeyError, TypeError):
        error = body_error(body, headers)
        raise error or Malformed(f"what came back is not a message: {words(body)}") from None
    reason = body.get("stop_reason")
    outcome, detail = ended(text, reason, author)
    return Response(
        prompt_id=prompt.id,
        text=text,
        author=author,
        outcome=outcome,
        finish_reason="" if reason is None else str(reason)[:200],
        detail=_explained(body) if outcome is Outcome.REFUSED else detail,
        usage=_usage(body.get("usage")),
    )


def _usage(used: Any) -> Usage:
    """What the service counted; nothing where it says nothing that can be read."""
    if not isinstance(used, Mapping):
        return Usage()
    read = token_count(used.get("cache_read_input_tokens"))
    written = token_count(used.get("cache_creation_input_tokens"))
    return Usage(
        # The service counts what it read from and wrote to its cache apart.
        input_tokens=token_count(used.get("input_tokens")) + read + written,
        cached_tokens=read,
        output_tokens=token_count(used.get("output_tokens")),
    )


def _explained(body: Mapping[str, Any]) -> str:
    """Why it was refused."""
    details = body.get("stop_details")
    return str(details.get("explanation") or "") if isinstance(details, Mapping) else ""
