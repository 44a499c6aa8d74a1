"""Chat completions: what an answer says, and what an error means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpt import Prompt, Response, Unreachable, Usage
from cpt.types import Outcome

OUTCOMES: Mapping[str, Outcome] = {"length": "cut_off", "content_filter": "filtered"}


def read(body: Any, prompt: Prompt, author: str) -> Response:
    """The answer in a chat completion. Raises `Unreachable` if it is none."""
    try:
        choice, used = body["choices"][0], body.get("usage") or {}
        text, refusal = choice["message"].get("content"), choice["message"].get("refusal")
        cached = (used.get("prompt_tokens_details") or {}).get("cached_tokens")
        usage = Usage(
            input_tokens=used.get("prompt_tokens") or 0,
            cached_tokens=cached or 0,
            output_tokens=used.get("completion_tokens") or 0,
        )
    except (AttributeError, IndexError, KeyError, TypeError):
        raise Unreachable("what came back is no chat completion") from None
    reason = str(choice.get("finish_reason") or "")
    return Response(
        prompt_id=prompt.id,
        text=text or "",
        author=author,
        outcome=_outcome(text, refusal, reason),
        finish_reason=reason,
        detail=refusal or ("" if text else f"no text (finish reason {reason!r})"),
        usage=usage,
    )


def _outcome(text: str | None, refusal: str | None, reason: str) -> Outcome:
    if refusal:
        return "refused"
    if reason == "content_filter" or text:
        return OUTCOMES.get(reason, "answered")
    return "empty"
