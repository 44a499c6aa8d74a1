"""What makes two requests the same: one key for each, however the answer is fetched."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import attrs

from cpt.errors import BadData
from cpt.roles import Responder
from cpt.types import Prompt

VERSION = 1
"""Part of every key: raised when the same key would mean something else."""


@attrs.frozen(kw_only=True)
class Request:
    """One question to one responder, as the journal knows it."""

    key: str
    """32 hexadecimal digits that stand for all that determines the answer."""
    prompt_id: str
    sample: int
    identity: str
    """The responder's identity, as canonical JSON."""
    messages: str
    """The conversation as JSON: a list of {role, content}; {messages, tools} if it has tools."""

    @property
    def turns(self) -> list[dict[str, Any]]:
        """The messages as plain data."""
        return self._asked["messages"]

    @property
    def tools(self) -> list[dict[str, Any]]:
        """The tools as plain data."""
        return self._asked["tools"]

    @property
    def _asked(self) -> dict[str, list[dict[str, Any]]]:
        asked = json.loads(self.messages)
        return asked if isinstance(asked, dict) else {"messages": asked, "tools": []}


def request(responder: Responder, prompt: Prompt, sample: int, identity: str = "") -> Request:
    """What is asked, and its key. `identity` saves making it again. Raises `BadData`."""
    identity = identity or canonical(responder.identity)
    try:
        messages = _plain(prompt)
        str(prompt.id).encode()
        state = blake2b(digest_size=16)
        state.update(f"{VERSION}\n{sample}\n{identity}\n{messages}".encode())
    except (AttributeError, TypeError, UnicodeEncodeError) as error:
        raise BadData(
            f"prompt {prompt.id!r}: its id or messages are not text that can be sent ({error})."
        ) from None
    return Request(
        key=state.hexdigest(),
        prompt_id=str(prompt.id),
        sample=sample,
        identity=identity,
        messages=messages,
    )


def canonical(value: Mapping[str, Any]) -> str:
    """The same text for equal values, in every process."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


def _plain(prompt: Prompt) -> str:
    for turn in prompt.messages:
        if not isinstance(turn.content, str):
            raise TypeError(f"{type(turn.content).__name__} where text belongs")
    turns: Any = [turn.plain() for turn in prompt.messages]
    if prompt.tools:
        turns = {"messages": turns, "tools": list(prompt.tools)}
    return json.dumps(turns, ensure_ascii=False, separators=(",", ":"))
