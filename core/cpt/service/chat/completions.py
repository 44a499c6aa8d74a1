"""Chat completions, the protocol that most endpoints speak: what is sent, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cpt.errors import Malformed
from cpt.service.chat.finish import ended
from cpt.service.chat.forms import chat_forms, read_top_logprobs
from cpt.service.http.errors import body_error, words
from cpt.types import Message, Outcome, Prompt, Response, Usage

NOTHING: Mapping[str, str] = {}
TEXTS = ("text", "output_text")
"""Kinds of the parts of a message that are its text."""
IMPLAUSIBLE = 2**40
"""No model reads or writes so many tokens."""


def chat_request(
    model: str,
    prompt: Prompt,
    sample: int,
    *,
    system: str | None = None,
    seed: int | None = None,
    top_logprobs: int | None = None,
    json_schema: Mapping[str, Any] = NOTHING,
    extra_body: Mapping[str, Any] = NOTHING,
    **options: Any,
) -> dict[str, Any]:
    """The body of a request; options that are None are left to the endpoint.

    `system` goes before prompts that have no system message; sample n is asked with seed + n.
    `top_logprobs` asks for so many at each place, `json_schema` for an answer that fits it.
    `extra_body` is whatever else the endpoint knows; what has a name here wins over it.
    """
    messages = [_turn(message) for message in prompt.messages]
    if system is not None and all(turn["role"] != "system" for turn in messages):
        messages.insert(0, {"role": "system", "content": system})
    options["seed"] = None if seed is None else seed + sample
    given = {name: value for name, value in options.items() if value is not None}
    tools = {"tools": list(prompt.tools)} if prompt.tools else {}
    forms = chat_forms(top_logprobs, json_schema)
    return {**extra_body, "model": model, "messages": messages, **tools, **given, **forms}


def _turn(message: Message) -> dict[str, Any]:
    """A message on the wire; services refuse the thoughts of earlier turns."""
    return {name: said for name, said in message.plain().items() if name != "reasoning_content"}


def chat_response(
    body: Any, prompt: Prompt, author: str, headers: Mapping[str, str] = NOTHING
) -> Response:
    """The answer in the body of a chat completion, whose headers say how long to wait.

    Raises `Malformed` if it is none, and what `http_error` returns if it reports an error.
    """
    try:
        choice = body["choices"][0]
        if error := choice.get("error"):
            raise body_error({"error": error}, headers) or Malformed(words(error))
        message = choice["message"]
        text, refusal = _text(message.get("content")), message.get("refusal")
    except (AttributeError, IndexError, KeyError, TypeError):
        error = body_error(body, headers)
        raise error or Malformed(
            f"what came back is not a chat completion: {words(body)}"
        ) from None
    reason = choice.get("finish_reason")
    outcome, detail = (Outcome.REFUSED, str(refusal)) if refusal else ended(text, reason, author)
    logprobs = read_top_logprobs(choice.get("logprobs"))
    return Response(
        prompt_id=prompt.id,
        text=text,
        author=author,
        outcome=outcome,
        finish_reason="" if reason is None else str(reason)[:200],
        detail=detail,
        usage=_usage(body.get("usage")),
        info={"top_logprobs": logprobs} if any(logprobs) else {},
    )


def _usage(used: Any) -> Usage:
    """What an endpoint counted; nothing where it says nothing that can be read."""
    if not isinstance(used, Mapping):
        return Usage()
    details = used.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    given = token_count(used.get("prompt_tokens"))
    return Usage(
        input_tokens=given,
        cached_tokens=min(given, token_count(cached)),
        output_tokens=token_count(used.get("completion_tokens")),
    )


def token_count(value: Any) -> int:
    """Tokens as an endpoint counted them; 0 where that is not a plausible number."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if number and 0 <= value < IMPLAUSIBLE and value == int(value) else 0


def _text(content: str | list[Any] | None) -> str:
    """What a message says; some endpoints send it in parts, thoughts among them."""
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] in TEXTS)
    if content is None or isinstance(content, str):
        return content or ""
    raise TypeError
