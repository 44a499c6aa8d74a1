"""Tools, calls of them and their results, in what a template writes."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from cpt import CptError, Message, Pair, Prompt, ToolCall
from cpt.asking.journal.keys import request
from cpt.asking.transports.batch_log import item
from cpt.service.chat import completions
from cpt.testing import Scripted
from cpt.training.data.prepare import examine
from cpt.training.data.tokens import encode
from cpt.training.options import Training

from . import tiny

TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
CALL = ToolCall("look", '{"at": "ab"}', "c1")
ASKED = (
    Message("user", "ab"),
    Message("assistant", "", tool_calls=(CALL,)),
    Message("tool", "cd", tool_call_id="c1"),
)
WRITES = (
    "{% if tools %}[{% for t in tools %}{{ t.function.name }}{% endfor %}]{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}ARGUMENTS{% endfor %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PARSED = WRITES.replace("ARGUMENTS", "({{ c.function.arguments.at }})")
AS_TEXT = WRITES.replace("ARGUMENTS", "{{ '(' + c.function.arguments + ')' }}")


def pair_of(*messages: Message, tools: Any = (), **chosen: Any) -> Pair:
    plain = tiny.pair("ab", "cd", "dc")
    prompt = Prompt(id="p", messages=messages, tools=tools)
    return attrs.evolve(plain, prompt=prompt, chosen=attrs.evolve(plain.chosen, **chosen))


@pytest.mark.parametrize(
    ("template", "written"), [(PARSED, "look(ab)"), (AS_TEXT, 'look({"at": "ab"})')]
)
def test_tools_and_calls_are_in_the_prompt(template: str, written: str) -> None:
    tokenizer = tiny.tokenizer(template=template)
    plain = pair_of(Message("user", "ab"))
    for pair in (plain, pair_of(*ASKED, tools=(TOOL,))):
        encoded, _ = encode([pair, plain], tokenizer)
        text = tokenizer.decode(encoded.prompt)
        assert text.startswith("[look]") is bool(pair.prompt.tools)
        assert (written in text) is (len(pair.prompt.messages) > 1)
        assert not encoded.left_out


def test_the_same_messages_with_other_tools_are_another_prompt() -> None:
    pairs = [pair_of(Message("user", "ab"), tools=tools) for tools in ((), (TOOL,))]
    without, with_tools = encode(pairs, tiny.tokenizer(template=PARSED))
    assert with_tools.prompt.tolist() != without.prompt.tolist()


def test_a_call_as_an_answer_is_trained() -> None:
    tokenizer = tiny.tokenizer(template=PARSED)
    pair = pair_of(Message("user", "ab"), tools=(TOOL,), text="", tool_calls=(CALL,))
    (encoded,) = encode([pair], tokenizer)
    assert tokenizer.decode(encoded.chosen.ids) == "look(ab)<|im_end|>\n"
    assert examine([pair], tokenizer, Training()).kept == 1


def test_what_a_template_leaves_out_is_noted_in_a_prompt_and_drops_the_pair_in_an_answer() -> None:
    noted = examine([pair_of(*ASKED, tools=(TOOL,))], tiny.tokenizer(), Training())
    assert noted.noted == {"tools_left_out": 1}
    dropped = examine([pair_of(ASKED[0], tool_calls=(CALL,))], tiny.tokenizer(), Training())
    (finding,) = dropped.findings
    assert finding.problem == "template"
    assert finding.detail == "the chat template does not keep its tool calls"


def test_a_request_has_the_tools_and_keeps_them_in_the_journal() -> None:
    prompt = Prompt(id="p", messages=ASKED, tools=(TOOL,))
    sent = completions.chat_request("m", prompt, 0)
    assert sent["tools"] == [TOOL]
    assert sent["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "type": "function",
                    "function": {"name": "look", "arguments": '{"at": "ab"}'},
                    "id": "c1",
                }
            ],
        },
        {"role": "tool", "content": "cd", "tool_call_id": "c1"},
    ]
    asked = request(Scripted(), prompt, 0)
    assert item(asked).prompt == prompt
    assert asked.key != request(Scripted(), attrs.evolve(prompt, tools=()), 0).key


def test_a_thought_of_an_earlier_turn_is_not_sent() -> None:
    turn = Message("assistant", "b", reasoning_content="hm")
    prompt = Prompt(id="p", messages=(Message("user", "a"), turn, Message("user", "c")))
    assert "hm" not in json.dumps(completions.chat_request("m", prompt, 0))


def test_a_responder_that_cannot_send_tools_says_so() -> None:
    prompt = Prompt(id="p", messages=ASKED)
    with pytest.raises(CptError, match="prompt 'p' has tools, which the responder 'x' cannot send"):
        prompt.refuse_tools("x")
    Prompt(id="p", messages=ASKED[:1]).refuse_tools("x")
