"""Thoughts: what is trained is what a model would have had to say after its own prompt."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from cpt import Message, Response
from cpt.training.data.prepare import examine
from cpt.training.data.rendering.template import TemplateInputs
from cpt.training.data.rendering.thoughts import thinks
from cpt.training.data.tokens import encode
from cpt.training.options import Training
from cpt.types.thoughts import split_thought

from . import tiny

END = "<|im_end|>"
# The prompt opens a thought, and thoughts are cut from all answers that the template is given.
OPENS_AND_CUTS = (
    "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}"
    "{{ m.content.split('</think>')[-1] }}<|im_end|>{% else %}{{ m.content }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}[assistant]<think>\n{% endif %}"
)
# The prompt opens a thought; answers are written as they are.
OPENS = tiny.CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
# Thinking can be turned off, and the last answer always has a thought.
MAY_THINK = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.role == 'assistant' and loop.last %}"
    "{% set parts = m.content.split('</think>') %}"
    "{% set thought = m.reasoning_content or "
    "(parts[0].split('<think>')[-1] if parts | length > 1 else '') %}"
    "<think>\n{{ thought.strip() }}\n</think>\n\n{{ parts[-1].lstrip() }}"
    "{% else %}{{ m.content.split('</think>')[-1].lstrip() }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}"
    "{% endif %}"
)
# As DeepSeek V3.1: an answer without a thought begins with the mark that closes one.
CLOSES_ONLY = (
    "{% for m in messages %}[{{ m.role }}]{% if m.role == 'assistant' %}</think>"
    "{{ m.content.split('</think>')[-1] }}<|im_end|>{% else %}{{ m.content }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}[assistant]<think>{% endif %}"
)
OTHER_MARKS = OPENS_AND_CUTS.replace("<think>\n", "[THINK]").replace("</think>", "[/THINK]")
NO_THOUGHTS_KEPT = OPENS_AND_CUTS.replace("<think>\n", "")


def answer_of(template: str, text: str, **fields: Any) -> str:
    """What is trained behind the prompt, without the line end after the turn."""
    tokenizer = tiny.tokenizer(template=template)
    pair = tiny.pair("abcd", text, "dc")
    pair = attrs.evolve(pair, chosen=attrs.evolve(pair.chosen, **fields))
    (encoded,) = encode([pair], tokenizer)
    assert not encoded.chosen.problem
    return str(tokenizer.decode(encoded.chosen.ids)).removesuffix("\n").removesuffix(END)


@pytest.mark.parametrize(
    ("template", "text", "trained"),
    [
        (OPENS_AND_CUTS, "cd", "\n</think>\n\ncd"),
        (OPENS_AND_CUTS, "ab\n</think>\n\ncd", "ab\n</think>\n\ncd"),
        (OPENS_AND_CUTS, "<think>\nab\n</think>\n\ncd", "ab\n</think>\n\ncd"),
        (OPENS_AND_CUTS, "<think>ab</think>cd", "ab</think>cd"),
        (OPENS_AND_CUTS, "im_end", "\n</think>\n\nim_end"),
        (OPENS, "cd", "\n</think>\n\ncd"),
        (OPENS, "<b>cd", "\n</think>\n\n<b>cd"),
        (OPENS, "ab\n</think>\n\ncd", "ab\n</think>\n\ncd"),
        (OPENS, "<think>\nab\n</think>\n\ncd", "ab\n</think>\n\ncd"),
        (OPENS, "<think>\nab", "ab"),
        (MAY_THINK, "cd", "<think>\n\n</think>\n\ncd"),
        (MAY_THINK, "<think>\nab\n</think>\n\ncd", "<think>\nab\n</think>\n\ncd"),
        (MAY_THINK, "ab\n</think>\n\ncd", "<think>\nab\n</think>\n\ncd"),
        (CLOSES_ONLY, "cd", "</think>cd"),
        (CLOSES_ONLY, "ab</think>cd", "ab</think>cd"),
        (OTHER_MARKS, "cd", "\n\n[/THINK]\n\ncd"),
        (OTHER_MARKS, "[THINK]ab[/THINK]cd", "ab[/THINK]cd"),
        (NO_THOUGHTS_KEPT, "cd", "cd"),
        (NO_THOUGHTS_KEPT, "<think>\nab\n</think>\n\ncd", "<think>\nab\n</think>\n\ncd"),
        (tiny.CHATML, "cd", "cd"),
        (tiny.CHATML, "ab\n</think>\n\ncd", "ab\n</think>\n\ncd"),
    ],
)
def test_what_is_trained_is_what_the_model_would_have_had_to_say(
    template: str, text: str, trained: str
) -> None:
    assert answer_of(template, text) == trained


@pytest.mark.parametrize(
    ("template", "trained"),
    [
        (OPENS_AND_CUTS, "ab\n</think>\n\ncd"),
        (OPENS, "ab\n</think>\n\ncd"),
        (MAY_THINK, "<think>\nab\n</think>\n\ncd"),
        (tiny.CHATML, "<think>\nab\n</think>\n\ncd"),
    ],
)
def test_a_thought_in_a_field_of_its_own_is_trained_too(template: str, trained: str) -> None:
    assert answer_of(template, "cd", reasoning_content="ab") == trained


def test_an_empty_thought_is_closed_as_the_template_closes_it() -> None:
    own = OPENS_AND_CUTS.replace(
        "<think>\n{% endif %}",
        "<think>\n{% if enable_thinking is defined %}-</think>{% endif %}{% endif %}",
    )
    assert answer_of(own, "cd") == "-</think>cd"


def test_thinking_is_turned_off_by_an_option() -> None:
    options = Training(chat_template_kwargs={"enable_thinking": False})
    tokenizer = tiny.tokenizer(template=MAY_THINK)
    pair = tiny.pair("abcd", "cd", "dc")
    (encoded,) = encode([pair], tokenizer, TemplateInputs(options.chat_template_kwargs))
    assert tokenizer.decode(encoded.prompt).endswith("<think>\n\n</think>\n\n")
    assert tokenizer.decode(encoded.chosen.ids) == "cd<|im_end|>\n"
    on, off = (examine([pair], tokenizer, how) for how in (Training(), options))
    assert off.lengths and on.lengths
    assert off.lengths.prompt_tokens > on.lengths.prompt_tokens
    assert off.lengths.chosen_tokens < on.lengths.chosen_tokens


def test_what_the_template_is_given_anyway_cannot_be_an_option() -> None:
    with pytest.raises(ValueError, match="must not hold messages, tokenize"):
        Training(chat_template_kwargs={"tokenize": True, "messages": [], "x": 1})


def test_a_text_that_the_template_loses_is_not_trained() -> None:
    lossy = tiny.CHATML.replace("message['content']", "message['content'][:2]")
    (encoded,) = encode([tiny.pair("abcd", "cdcd", "dc")], tiny.tokenizer(template=lossy))
    assert encoded.chosen.problem == "the chat template does not keep its text"
    assert not encoded.rejected.problem


@pytest.mark.parametrize(
    ("chosen", "noted"),
    [("<think>\nab\n</think>\n\ncd", True), ("<think>\n\n</think>\n\ncd", False), ("cd", False)],
)
def test_a_pair_of_which_one_side_thinks_is_noted(chosen: str, noted: bool) -> None:
    diagnosis = examine([tiny.pair("ab", chosen, "dc")], tiny.tokenizer(), Training())
    assert ("thought_on_one_side" in diagnosis.noted) is noted


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("cd", ("", "cd")),
        ("<think>a</think>b", ("a", "b")),
        ("a</think>b", ("a", "b")),
        ("<think>a", ("a", "")),
        ("a <think> b", ("", "a <think> b")),
        ("<seed:think>a</seed:think>b", ("a", "b")),
        ("[THINK]a[/THINK]b", ("a", "b")),
    ],
)
def test_a_thought_is_told_from_its_answer(text: str, parts: tuple[str, str]) -> None:
    assert split_thought(text) == parts
    assert thinks(Message("assistant", text)) is bool(parts[0])


def test_a_thought_in_a_field_is_a_thought() -> None:
    response = Response(prompt_id="p", text="cd", author="a", reasoning_content="ab")
    assert thinks(response.message)
