"""Chat completions, the protocol that most endpoints speak: what is sent, and what comes back."""

from __future__ import annotations

from typing import Any

from cpt.errors import Malformed
from cpt.types import Message, Outcome, Prompt, Response, Usage

OUTCOMES = {"length": Outcome.CUT_OFF, "content_filter": Outcome.FILTERED}
IMPLAUSIBLE = 2**40
"""No model reads or writes so many tokens."""


def chat_request(
    model: str,
    prompt: Prompt,
    sample: int,
    *,
    system: str | None = None,
    seed: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The body of a request; options that are None are left to the endpoint.

    `system` goes before prompts that have no system message; sample n is asked with seed + n.
    """
    messages = [_turn(message) for message in prompt.messages]
    if system is not None and all(turn["role"] != "system" for turn in messages):
        messages.insert(0, {"role": "system", "content": system})
    options["seed"] = None if seed is None else seed + sample
    given = {name: value for name, value in options.items() if value is not None}
    tools = {"tools": list(prompt.tools)} if prompt.tools else {}
    return {"model": model, "messages": messages, **tools, **given}


def _turn(message: Message) -> dict[str, Any]:
    """A message on the wire; services refuse the thoughts of earlier turns."""
    return {name: said for name, said in message.plain().items() if name != "reasoning_content"}


def chat_response(body: Any, prompt: Prompt, author: str) -> Response:
    """The answer in the body of a chat completion. Raises `Malformed` if it is not one."""
    try:
        choice, used = body["choices"][0], body.get("usage") or {}
        text, refusal = _text(choice["message"].get("content")), choice["message"].get("refusal")
        details = used.get("prompt_tokens_details") or {}
        given = token_count(used.get("prompt_tokens"))
        usage = Usage(
            input_tokens=given,
            cached_tokens=min(given, token_count(details.get("cached_tokens"))),
            output_tokens=token_count(used.get("completion_tokens")),
        )
    except (AttributeError, IndexError, KeyError, TypeError):
        raise Malformed("what came back is not a chat completion") from None
    reason = str(choice.get("finish_reason") or "")
    return Response(
        prompt_id=prompt.id,
        text=text,
        author=author,
        outcome=_outcome(text, refusal, reason),
        finish_reason=reason,
        detail=str(refusal or ("" if text.strip() else f"no text (finish reason {reason!r})")),
        usage=usage,
    )


def token_count(value: Any) -> int:
    """Tokens as an endpoint counted them; 0 where that is not a plausible number."""
    plausible = isinstance(value, int) and 0 <= value < IMPLAUSIBLE
    return int(value) if plausible else 0


def _text(content: str | list[Any] | None) -> str:
    """What a message says; some endpoints send it in parts, thoughts among them."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    if content is None or isinstance(content, str):
        return content or ""
    raise TypeError


def _outcome(text: str, refusal: Any, reason: str) -> Outcome:
    if refusal:
        return Outcome.REFUSED
    if reason == "content_filter" or text.strip():
        return OUTCOMES.get(reason, Outcome.ANSWERED)
    return Outcome.EMPTY
