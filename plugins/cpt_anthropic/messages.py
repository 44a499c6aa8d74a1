"""Messages: what an answer says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpt import Malformed, Outcome, Prompt, Response, Usage
from cpt.service.chat import count

OUTCOMES: Mapping[str, Outcome] = {
    "max_tokens": "cut_off",
    "model_context_window_exceeded": "cut_off",
    "refusal": "refused",
}


def read(body: Any, prompt: Prompt, author: str) -> Response:
    """The answer in a message. Raises `Malformed` if it is none."""
    try:
        text = "".join(block["text"] for block in body["content"] if block["type"] == "text")
        reason = str(body.get("stop_reason") or "")
        usage = _usage(body["usage"])
    except (AttributeError, KeyError, TypeError):
        raise Malformed("what came back is no message") from None
    says = text.strip() or reason == "refusal"
    outcome = OUTCOMES.get(reason, "answered") if says else "empty"
    return Response(
        prompt_id=prompt.id,
        text=text,
        author=author,
        outcome=outcome,
        finish_reason=reason,
        detail=_detail(body, outcome),
        usage=usage,
    )


def _usage(used: Mapping[str, Any]) -> Usage:
    read = count(used.get("cache_read_input_tokens"))
    written = count(used.get("cache_creation_input_tokens"))
    return Usage(
        # The service counts what it read from and wrote to its cache apart.
        input_tokens=count(used["input_tokens"]) + read + written,
        cached_tokens=read,
        output_tokens=count(used["output_tokens"]),
    )


def _detail(body: Mapping[str, Any], outcome: Outcome) -> str:
    if outcome == "empty":
        return f"no text (stop reason {body.get('stop_reason')!r})"
    if outcome == "refused":
        details = body.get("stop_details")
        return str(details.get("explanation") or "") if isinstance(details, Mapping) else ""
    return ""
