"""Chat completions, the protocol that most endpoints speak: what is sent, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpt.errors import Unreachable
from cpt.types import Outcome, Prompt, Response, Usage

OUTCOMES: Mapping[str, Outcome] = {"length": "cut_off", "content_filter": "filtered"}


def body(
    model: str,
    prompt: Prompt,
    sample: int,
    *,
    system: str | None = None,
    seed: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """A request as it goes over the wire; options that are None are left to the endpoint.

    `system` stands before prompts that have no system message; sample n is asked with seed + n.
    """
    messages = [{"role": turn.role, "content": turn.content} for turn in prompt.messages]
    if system is not None and all(turn["role"] != "system" for turn in messages):
        messages.insert(0, {"role": "system", "content": system})
    options["seed"] = None if seed is None else seed + sample
    given = {name: value for name, value in options.items() if value is not None}
    return {"model": model, "messages": messages, **given}


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
        detail=refusal or ("" if _says(text) else f"no text (finish reason {reason!r})"),
        usage=usage,
    )


def _outcome(text: str | None, refusal: str | None, reason: str) -> Outcome:
    if refusal:
        return "refused"
    if reason == "content_filter" or _says(text):
        return OUTCOMES.get(reason, "answered")
    return "empty"


def _says(text: str | None) -> bool:
    """Whether there is more than blanks in it."""
    return bool(text and text.strip())
