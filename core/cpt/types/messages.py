"""The turns of a conversation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import attrs


@attrs.frozen
class ToolCall:
    """A call of a tool, as a model wrote it."""

    name: str
    arguments: str
    """A JSON object as text."""
    id: str = ""


def _tool_calls(calls: Sequence[ToolCall | Mapping[str, Any]]) -> tuple[ToolCall, ...]:
    return tuple(
        call
        if isinstance(call, ToolCall)
        else ToolCall(call["function"]["name"], call["function"]["arguments"], call.get("id", ""))
        for call in calls
    )


@attrs.frozen
class Message:
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    reasoning_content: str = attrs.field(default="", kw_only=True)
    """What an assistant thought before `content`."""
    tool_calls: tuple[ToolCall, ...] = attrs.field(default=(), kw_only=True, converter=_tool_calls)
    """What an assistant called after `content`."""
    tool_call_id: str = attrs.field(default="", kw_only=True)
    """Of a `tool` message: the call that it answers."""
    name: str = attrs.field(default="", kw_only=True)
    """Of a `tool` message: the tool."""

    def plain(self) -> dict[str, Any]:
        """As services and templates take it: fields that say nothing are left out."""
        said = {"role": self.role, "content": self.content}
        extra: dict[str, Any] = {
            "reasoning_content": self.reasoning_content,
            "tool_calls": [_plain_call(call) for call in self.tool_calls],
            "tool_call_id": self.tool_call_id,
            "name": self.name,
        }
        return said | {name: value for name, value in extra.items() if value}


def _plain_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"type": "function", "function": function} | ({"id": call.id} if call.id else {})
