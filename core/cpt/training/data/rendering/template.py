"""From conversations to text: what the chat template writes, and where in it a prompt ends."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

import attrs
import jinja2

from cpt.errors import first_line
from cpt.files import from_json
from cpt.training.data.rendering.thoughts import as_sampled, inside, opened_by
from cpt.types import Message, Prompt
from cpt.types.thoughts import split_thought

REFUSALS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
)
"""What a template raises for a conversation that it cannot write."""
THINKING_OFF = {"enable_thinking": False, "thinking": False}
"""What templates of models that may think or not are asked with to have no thought."""
DIRECTIVES = "aAbBcdHIjmMpSUwWxXyYZz"
"""Letters that a template may ask for a part of the date with, as in `%d`."""


@attrs.frozen
class TemplateInputs:
    """What a chat template is given beside the conversation."""

    variables: Mapping[str, Any] = attrs.field(factory=dict)
    """By name, such as `enable_thinking`."""
    day: date = attrs.field(factory=date.today)
    """For templates that ask for the date."""

    def dated(self, template: str) -> str:
        """The template, with this day (at midnight) in place of the time at which it is used."""
        if "strftime_now" not in template:
            return template
        moment = datetime.combine(self.day, time())
        asked = [f"%{flag}{letter}" for flag in ("-", "") for letter in DIRECTIVES]
        parts = "".join(f"|replace('{code}', '{moment.strftime(code)}')" for code in asked)
        return (
            f"{{% macro strftime_now(format) %}}{{{{ format{parts} }}}}{{% endmacro %}}\n{template}"
        )


@attrs.frozen
class Conversation:
    """What a model is asked: the same for the same messages and tools."""

    messages: tuple[Message, ...]
    tools: str = ""
    """As JSON; empty if there are none."""

    @classmethod
    def of(cls, prompt: Prompt) -> Conversation:
        tools = json.dumps(list(prompt.tools), sort_keys=True) if prompt.tools else ""
        return cls(prompt.messages, tools)

    def then(self, answer: Message) -> Conversation:
        return Conversation((*self.messages, answer), self.tools)

    def left_out_of(self, prompt: str) -> bool:
        """Whether the text of a prompt lacks a tool or a call of one."""
        tools = json.loads(self.tools) if self.tools else []
        calls = [call.name for turn in self.messages for call in turn.tool_calls]
        names = [str(_inside(tool).get("name", "")) for tool in tools]
        return any(name not in prompt for name in [*calls, *names])


def _inside(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    """The function that a tool is, where it says so."""
    function = tool.get("function")
    return function if isinstance(function, Mapping) else tool


@attrs.frozen
class Continuation:
    """What the template writes after a prompt."""

    text: str = ""
    rewritten: bool = False
    """The template did not continue the prompt it gave: the answer was put behind that prompt."""
    problem: str = ""
    """Why there is no text."""


@attrs.frozen
class Rendered:
    """A conversation as text, with what follows it."""

    prompt: str
    """What a model is asked with; empty if the template refuses it."""
    answers: Mapping[Message, Continuation]
    left_out: bool = False
    """The template leaves tools or calls of tools out of the prompt."""


def render(
    asked: Sequence[tuple[Conversation, Collection[Message]]],
    tokenizer: Any,
    inputs: TemplateInputs,
) -> list[Rendered]:
    """Each conversation with the answers to it, as its tokenizer's template writes them."""
    chats = [conversation for conversation, _ in asked]
    replies = [chat.then(answer) for chat, answers in asked for answer in answers]
    prompts = _written(chats, tokenizer, inputs, add_generation_prompt=True)
    wholes = iter(_written(replies, tokenizer, inputs, add_generation_prompt=False))
    closing = _closing(prompts, tokenizer, inputs)
    return [
        Rendered(
            prompt if isinstance(prompt, str) else "",
            {answer: _continuation(prompt, next(wholes), answer, closing) for answer in answers},
            isinstance(prompt, str) and chat.left_out_of(prompt),
        )
        for prompt, (chat, answers) in zip(prompts, asked, strict=True)
    ]


def _written(
    chats: Sequence[Conversation], tokenizer: Any, inputs: TemplateInputs, **how: Any
) -> list[str | Exception]:
    """The text of each conversation, or why the template refuses it."""
    if len({chat.tools for chat in chats}) < 2:
        try:
            return list(_applied(chats, tokenizer, inputs, **how))
        except REFUSALS as error:
            if len(chats) == 1:
                return [_with_calls_as_text(chats[0], tokenizer, inputs, **how) or error]
    return [text for chat in chats for text in _written([chat], tokenizer, inputs, **how)]


def _with_calls_as_text(
    chat: Conversation, tokenizer: Any, inputs: TemplateInputs, **how: Any
) -> str:
    """What a template writes that takes the arguments of calls as text only; else nothing."""
    if not any(turn.tool_calls for turn in chat.messages):
        return ""
    try:
        return _applied([chat], tokenizer, inputs, parsed=False, **how)[0]
    except REFUSALS:
        return ""


def _applied(
    chats: Sequence[Conversation],
    tokenizer: Any,
    inputs: TemplateInputs,
    *,
    parsed: bool = True,
    **how: Any,
) -> list[str]:
    """The text of conversations that have the same tools."""
    turns = [[_turn(message, parsed) for message in chat.messages] for chat in chats]
    tools = json.loads(chats[0].tools) if chats and chats[0].tools else None
    texts: list[str] = tokenizer.apply_chat_template(
        turns,
        tools=tools,
        chat_template=inputs.dated(tokenizer.get_chat_template(None, tools)),
        tokenize=False,
        **{**inputs.variables, **how},
    )
    return texts


def _turn(message: Message, parsed: bool) -> dict[str, Any]:
    """A message as templates take it."""
    turn = message.plain()
    if parsed:
        for call in turn.get("tool_calls", ()):
            call["function"]["arguments"] = _parsed(call["function"]["arguments"])
    return turn


def _parsed(arguments: str) -> Any:
    try:
        return from_json(arguments)
    except ValueError:
        return arguments


def _closing(
    prompts: Sequence[str | Exception], tokenizer: Any, inputs: TemplateInputs
) -> str | None:
    """How the template closes the thought that it opens, where thinking is off; else None."""
    if not any(isinstance(prompt, str) and opened_by(prompt) for prompt in prompts):
        return None
    chat = [Conversation((Message("user", "a"),))]
    silent = attrs.evolve(inputs, variables={**inputs.variables, **THINKING_OFF})
    (on,), (off,) = (
        _written(chat, tokenizer, given, add_generation_prompt=True) for given in (inputs, silent)
    )
    if isinstance(on, str) and isinstance(off, str) and off.startswith(on):
        return off[len(on) :] or None
    return None


def _continuation(
    prompt: str | Exception, whole: str | Exception, answer: Message, closing: str | None
) -> Continuation:
    for refused in (prompt, whole):
        if isinstance(refused, Exception):
            return Continuation(problem=f"the chat template refuses it ({first_line(refused)})")
    assert isinstance(prompt, str) and isinstance(whole, str)
    after, opened = _after(prompt, whole, answer), opened_by(prompt)
    if after is None or any(call.name not in after for call in answer.tool_calls):
        what = "its text" if after is None else "its tool calls"
        return Continuation(problem=f"the chat template does not keep {what}")
    if not _keeps_thought(after, answer):
        end = _end_of(after, answer)
        return Continuation(as_sampled(answer, opened) + after[end:], rewritten=True)
    if whole.startswith(prompt):
        return Continuation(after)
    text = inside(after, opened, closing or opened.closing) if opened else after
    return Continuation(text, rewritten=True)


def _after(prompt: str, whole: str, answer: Message) -> str | None:
    """What the template writes of an answer behind a prompt; None if its text is not there."""
    said = split_thought(answer.content)[1].strip()
    if whole.startswith(prompt):
        return whole[len(prompt) :] if said in whole[len(prompt) :] else None
    opened = opened_by(prompt)
    base = prompt.removesuffix(opened.text) if opened else prompt
    if opened and whole.startswith(base):
        return whole[len(base) :] if said in whole[len(base) :] else None
    return _from_text(base, whole, answer)


def _from_text(prompt: str, whole: str, answer: Message) -> str | None:
    """The whole from the answer's own text on, which follows where it parts from the prompt."""
    parted = next(
        (at for at, (one, other) in enumerate(zip(prompt, whole, strict=False)) if one != other),
        min(len(prompt), len(whole)),
    )
    for said in (answer.content.strip(), split_thought(answer.content)[1].strip()):
        overlap = range(max(0, parted - len(said)), parted)
        start = next((at for at in overlap if whole.startswith(said, at)), whole.find(said, parted))
        if said and start >= 0:
            return whole[start:]
    return None


def _keeps_thought(after: str, answer: Message) -> bool:
    thought, _ = split_thought(answer.content)
    return thought.strip() in after and answer.reasoning_content.strip() in after


def _end_of(after: str, answer: Message) -> int:
    """Where the text of an answer ends in what the template writes of it."""
    said = split_thought(answer.content)[1].strip()
    return after.find(said) + len(said)
