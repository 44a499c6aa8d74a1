"""Messages as rows hold them: OpenAI's, ShareGPT's, with parts, calls of tools and thoughts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from cpt.data.rows.row import Row
from cpt.files import from_json
from cpt.types import Message, ToolCall

ROLES: Mapping[str, Any] = {
    **{role: role for role in ("system", "user", "assistant", "tool")},
    **{"developer": "system", "human": "user", "gpt": "assistant", "model": "assistant"},
    **{"bot": "assistant", "chatgpt": "assistant", "function": "tool", "ipython": "tool"},
    **{"observation": "tool", "tool_response": "tool", "function_response": "tool"},
    **{"function_call": "assistant", "tool_call": "assistant"},
}
"""What data sets call the roles. The last two hold calls of tools, as JSON, for content."""
CALLS = ("function_call", "tool_call")
KEYS = (("role", "content"), ("from", "value"))
REASONING = ("reasoning_content", "reasoning", "thinking")
MEDIA = tuple(name for kind in ("image", "video", "audio") for name in (kind, f"{kind}s"))
"""What no model that is trained here can read."""
TEXTS = ("text", "input_text", "output_text")
"""Types of the parts of a content that are text."""


def message_of(turn: Any, row: Row) -> Message:
    """One message. Raises `BadData`."""
    role_key, content_key = _keys(turn, row)
    refuse_media(turn, row)
    role, content = turn[role_key], turn.get(content_key)
    if not isinstance(role, str) or role not in ROLES:
        raise row.bad(
            f"unknown role {role!r}; there are {', '.join(dict.fromkeys(ROLES.values()))}"
        )
    calls = _calls(content, row) if role in CALLS else tool_calls_of(turn, row)
    text = "" if role in CALLS or (content is None and calls) else content_of(content, row)
    answers_call = ROLES[role] == "tool"
    return Message(
        ROLES[role],
        text,
        reasoning_content=reasoning_of(turn, content, row),
        tool_calls=calls,
        tool_call_id=str(turn.get("tool_call_id") or "") if answers_call else "",
        name=str(turn.get("name") or "") if answers_call else "",
    )


def _keys(turn: Any, row: Row) -> tuple[str, str]:
    if isinstance(turn, Mapping):
        for role, content in KEYS:
            if turn.get(role) is not None and (content in turn or turn.get("tool_calls")):
                return role, content
    raise row.bad(f"expected messages with a role and a content, got {turn!r:.60}")


def refuse_media(holder: Mapping[str, Any], row: Row) -> None:
    """Raise `Media` if a row or a message has an image, a video or a sound."""
    for name in MEDIA:
        if holder.get(name) not in (None, "", [], {}):
            raise row.media(f"{name} cannot be used, as models are trained on text")


def content_of(value: Any, row: Row) -> str:
    """The text of a content: a text, or parts that are all text. Raises `BadData`, `Media`."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "".join(_text_of_part(part, row) for part in value)
    return text_of(value, row)


def _text_of_part(part: Any, row: Row) -> str:
    if not isinstance(part, Mapping):
        return text_of(part, row)
    kind = part.get("type") or "text"
    if kind in REASONING:
        return ""
    if kind not in TEXTS:
        raise row.media(f"a part of the type {kind!r} cannot be used, only text")
    return text_of(part.get("text"), row)


def reasoning_of(turn: Mapping[str, Any], content: Any, row: Row) -> str:
    """What a message says that was thought before its content."""
    given = [turn[name] for name in REASONING if turn.get(name) is not None]
    if not given and isinstance(content, Sequence) and not isinstance(content, str):
        parts = [part for part in content if isinstance(part, Mapping)]
        given = [part.get(part["type"]) for part in parts if part.get("type") in REASONING]
    return text_of(given[0], row) if given else ""


def tool_calls_of(turn: Mapping[str, Any], row: Row) -> tuple[ToolCall, ...]:
    """The calls of tools in a message."""
    given = turn.get("tool_calls") or turn.get("function_call") or ()
    return _calls(given, row)


def _calls(given: Any, row: Row) -> tuple[ToolCall, ...]:
    """Calls as a list, or one alone, or either as JSON."""
    if isinstance(given, str):
        given = json_of(given, row, "calls of tools")
    if isinstance(given, Mapping):
        given = [given]
    return tuple(_call(call, row) for call in _listed(given, row, "calls of tools"))


def _call(call: Any, row: Row) -> ToolCall:
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise row.bad(f"expected calls of tools with a name and arguments, got {call!r:.60}")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        arguments = json.dumps({} if arguments is None else arguments, ensure_ascii=False)
    return ToolCall(
        text_of(function["name"], row), text_of(arguments, row), str(call.get("id") or "")
    )


def tools_of(given: Any, row: Row) -> tuple[Mapping[str, Any], ...]:
    """The tools that a row offers: a list of JSON schemas, or one as JSON. Raises `BadData`."""
    if isinstance(given, str):
        given = json_of(given, row, "tools")
    found = [
        json_of(tool, row, "tools") if isinstance(tool, str) else tool
        for tool in _listed(given or (), row, "tools")
    ]
    if not all(isinstance(tool, Mapping) for tool in found):
        raise row.bad(f"expected tools as a list of JSON schemas, got {given!r:.60}")
    return tuple(found)


def _listed(given: Any, row: Row, what: str) -> Iterable[Any]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise row.bad(f"expected {what} as a list, got {given!r:.60}")
    return given


def json_of(text: str, row: Row, what: str) -> Any:
    """What a text of JSON holds. Raises `BadData`."""
    try:
        return from_json(text)
    except ValueError as error:
        raise row.bad(f"expected {what} as JSON, got {text!r:.60} ({error})") from None


def with_thought(message: Message) -> Message:
    """The message with its thought in its text, as most models write it."""
    if not message.reasoning_content:
        return message
    text = f"<think>\n{message.reasoning_content}\n</think>\n\n{message.content}"
    return attrs.evolve(message, content=text, reasoning_content="")


def text_of(value: Any, row: Row) -> str:
    """The same text. Raises `BadData` if it is none, or one that no file can hold."""
    if not isinstance(value, str):
        raise row.bad(f"expected text, got {value!r:.60}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise row.bad("a text holds half of a character (a lone surrogate)") from None
    return value
