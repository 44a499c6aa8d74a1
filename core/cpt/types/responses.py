"""What a model is asked, and what it answered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from cpt.errors import CptError, NoPair
from cpt.types.messages import Message, ToolCall
from cpt.types.outcome import Outcome, outcome_of
from cpt.types.thoughts import split_thought


@attrs.frozen(kw_only=True)
class Prompt:
    """What a model is asked."""

    id: str
    messages: tuple[Message, ...]
    info: Mapping[str, Any] = attrs.field(factory=dict)
    """Other columns of the row it came from."""
    tools: tuple[Mapping[str, Any], ...] = ()
    """The tools that the model may call: JSON schemas, as chat templates take them."""

    def refuse_tools(self, responder: str) -> None:
        """Raise `CptError` if there are tools or calls of them, which a responder cannot send."""
        if self.tools or any(turn.tool_calls or turn.role == "tool" for turn in self.messages):
            raise CptError(
                f"prompt {self.id!r} has tools, which the responder {responder!r} cannot send; use "
                "one that speaks chat completions, or leave the prompt out."
            )

    @property
    def text(self) -> str:
        """What is asked, as one text: the only message, or a transcript of several."""
        if len(self.messages) == 1:
            return self.messages[0].content
        return "\n\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in self.messages)


@attrs.frozen(kw_only=True)
class Usage:
    """Tokens that one request took, as its provider counted them."""

    input_tokens: int = 0
    cached_tokens: int = 0
    """The part of `input_tokens` that the provider had cached."""
    output_tokens: int = 0


@attrs.frozen(kw_only=True)
class Response:
    """What one responder answered to one prompt, or why it did not."""

    prompt_id: str
    text: str
    author: str
    """Who wrote it: a model's name."""
    outcome: Outcome = attrs.field(default=Outcome.ANSWERED, converter=outcome_of)
    """How the request ended; a plain word is converted."""
    finish_reason: str = ""
    """Why the text ended, in the provider's own word."""
    detail: str = ""
    """What went wrong, in one line, where `outcome` is not `answered`."""
    usage: Usage = Usage()
    info: Mapping[str, Any] = attrs.field(factory=dict)
    """What else is known of it. `top_logprobs`, where they were asked for: for each token of the
    text the likeliest tokens in its place, as (token, log-probability)."""
    reasoning_content: str = ""
    """What its author thought before `text`, where that is not a part of `text`."""
    tool_calls: tuple[ToolCall, ...] = ()
    """What its author called after `text`."""

    @property
    def message(self) -> Message:
        """The answer as a turn of the conversation."""
        return Message(
            "assistant",
            self.text,
            reasoning_content=self.reasoning_content,
            tool_calls=self.tool_calls,
        )

    @property
    def without_thought(self) -> Response:
        """The same answer, less what its author thought before it."""
        thought, answer = split_thought(self.text)
        if not thought and answer == self.text and not self.reasoning_content:
            return self
        return attrs.evolve(self, text=answer.strip(), reasoning_content="")

    @property
    def says_something(self) -> bool:
        """Whether there is a text or a call of a tool."""
        return bool(self.text.strip() or self.tool_calls)

    def expect(self, *allowed: str) -> Response:
        """Itself if it was answered (or has an `allowed` outcome), else raise `NoPair`."""
        if self.outcome is Outcome.ANSWERED or self.outcome in allowed:
            return self
        raise NoPair(
            self.outcome.value,
            f"{self.author}: {self.detail or self.finish_reason or self.outcome}",
            self.text,
        )
