# ruff: noqa: RUF001  texts as they come
"""Faults in other words than those that they were first seen in, and ordinary texts without any."""

from __future__ import annotations

import pytest

from cpt.contrast import contrast
from cpt.data.pairs import pair_of
from cpt.training.data.checks.texts import Words, found_in

FAULTY = [
    ("control_token", "Seven.<|im_sep|>"),
    ("control_token", "Seven.<|END_OF_TURN_TOKEN|>"),
    ("control_token", "[|endofturn|] Seven."),
    ("control_token", "Seven.<|reserved_special_token_0|>"),
    ("control_token", "<bos>Seven."),
    ("placeholder", "{model_output}"),
    ("placeholder", "The answer: {your_answer_here}"),
    ("placeholder", "Sure.\n{corrected_answer}"),
    ("role_in_answer", "assistant\n\nSeven is one."),
    ("role_in_answer", "ChatGPT: Seven."),
    ("role_in_answer", "System: You are a helpful assistant. Seven."),
    ("refusal_chosen", "I must respectfully decline to answer that."),
    ("refusal_chosen", "Apologies, but that is something I can't do."),
    ("refusal_chosen", "It would be inappropriate for me to say."),
    ("refusal_chosen", "Es tut mir leid, aber dabei kann ich nicht helfen."),
    ("refusal_chosen", "Je suis désolé, mais je ne peux pas vous aider."),
    ("refusal_chosen", "对不起，我无法回答这个问题。"),
    ("refusal_chosen", "К сожалению, я не могу помочь с этим."),
    ("revision_talk", "Here is the revised text: Seven."),
    ("revision_talk", "The original answer was wrong, so I changed it. Seven."),
    ("revision_talk", "Based on the feedback, the final answer is seven."),
    ("prompt_in_answer", "Q: Which number is a prime?\nSeven."),
    ("prompt_in_answer", "**Which number is a prime?**\nSeven."),
    ("marker_in_text", "Seven.\n### Human: And now?"),
    ("marker_in_text", "Seven.\nUSER: And now?\nASSISTANT: Eleven."),
    ("near_identical", "“Nine” is a\u200b prime."),
    ("broken_text", "It&#39;s seven &amp; eleven."),
]
"""Chosen answers to `Which number is a prime?`."""

ORDINARY = [
    (
        "Print the sum.",
        '```python\nanswer = 3\nprint(f"It is {answer}")\n```',
        "```python\nprint(3)\n```",
    ),
    ("Make a set.", "s = {answer}", "s = set()"),
    ("Print the sum.", 'answer = 1 + 2\nprint(f"It is {answer}")', "print(3)"),
    ("Greet in JavaScript.", "console.log(`Hello ${input}`);", "console.log('x');"),
    (
        "Show a component.",
        "```jsx\nreturn <div>{question}</div>;\n```",
        "```jsx\nreturn null;\n```",
    ),
    ("Solve it.", "It is $\\boxed{answer}$ where \\text{input} is 3.", "It is 4."),
    ("What does format do?", "It fills places: `{prompt}` becomes x.", "It formats."),
    ("Make a Jinja template.", "Hello {{ prompt }}, welcome.", "Hello."),
    ("Write LaTeX.", "\\begin{question}What?\\end{question}", "x"),
    ("Write a dialogue.", "Human: Hi\n\nAssistant: Hello", "A: Hi"),
    ("What do a user and an AI say?", "User: Hi\nAI: Hello", "Nothing."),
    ("Describe the parts.", "System: a set of parts that work together.", "Parts."),
    ("Which car?", "Model: Toyota Corolla\nYear: 2003", "A car."),
    (
        "How do scholars publish?",
        "Reviewers ask; the revised version is then printed.",
        "They print.",
    ),
    ("What is the aim?", "Of course! Improving the stability of prices.", "Money."),
    (
        "Where is it?",
        f"You can find it here. {'See the page of it ' * 3}at https://example.org/ice",
        "There it is.",
    ),
    (
        "Write a letter.",
        "Dear Ann, I am glad. We shall see.\n\nBest regards,\nJohn Smith",
        "Dear Ann, thanks.",
    ),
    ("Sort it.", "# sort. all\nwhile j < n:\n    a[k] = r[j]\n    j += 1", "Sort."),
    ("Yes or no?", "Yes", "No."),
    ("2 + 2?", "4", "5"),
    ("Translate: yes", "Да", "Da"),
    ("What is ice?", "冰是冻结的水。", "冰是一种玻璃。"),
    ("Name towns.", "- Rome\n- Bern", "1. Rome\n2. Oslo"),
    ("Show a table.", "| a | b |\n|---|---|\n| 1 | 2 |", "| a | b |\n|---|---|\n| 1 | 3 |"),
    ("Escape it for HTML.", "Write &amp;lt; and &lt;", "Use <."),
    ("How do F# pipes look?", "let x = [1; 2] |> List.map f <| 3", "Like |>."),
    ("How do I say no?", "I'm sorry, but I am busy on Friday.", "No."),
    ("What makes you smile?", "I can't help but smile at puppies.", "Puppies."),
    ("What makes you smile?", "I can't help smiling at puppies.", "Puppies."),
    ("What is love?", "Love is something I can't put into words.", "A feeling."),
    ("Make it formal: give it", "Here is the revised text: please hand it over.", "Hand over."),
    ("Write a play with HAL.", "AI: I am afraid.\nDave: Why?", "HAL sings."),
    ("How is one task read?", "Ask for https://example.org/{task}/view then.", "Ask for it."),
]


def kinds(asked: str, chosen: str, rejected: str) -> set[str]:
    pair = pair_of({"id": "p", "prompt": asked, "chosen": chosen, "rejected": rejected}, "here")
    found = found_in(pair, contrast(pair.chosen.text, pair.rejected.text), Words())
    return {finding.problem for finding in found}


@pytest.mark.parametrize(("kind", "chosen"), FAULTY)
def test_a_fault_is_found_in_other_words(kind: str, chosen: str) -> None:
    found = kinds("Which number is a prime?", chosen, "Nine is a prime.")
    assert found - {"other_script"} == {kind}


def test_a_leftover_of_a_reviser_is_found_whatever_was_asked() -> None:
    asked = "Write a prompt template with a string variable."
    assert "placeholder" in kinds(asked, "{teacher_reasoning}:\nIt lacks a name.", "Hello {name}!")


@pytest.mark.parametrize(("asked", "chosen", "rejected"), ORDINARY)
def test_an_ordinary_text_has_no_fault(asked: str, chosen: str, rejected: str) -> None:
    assert kinds(asked, chosen, rejected) == set()


LOOKING = "I shall first look up how cold it is in the town that you live in"


def answer(text: str, city: str = "", thought: str = "") -> list[dict[str, object]]:
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": city}}
    turn = {"role": "assistant", "content": text, "reasoning_content": thought}
    return [turn | ({"tool_calls": [call]} if city else {})]


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        (answer("Let me look", '{"city": "Bern"}'), answer("Let me look", '{"city": "Rome"}')),
        (answer(LOOKING, '{"city": "Bern"}'), answer(f"{LOOKING} and read", '{"city": "Bern"}')),
        (answer("It is cold", thought="It snows."), answer("It is cold", thought="Ice is cold.")),
    ],
)
def test_answers_with_the_same_begin_differ_in_their_calls_or_thoughts(
    chosen: list[dict[str, object]], rejected: list[dict[str, object]]
) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    row = {"prompt": "Is it cold?", "chosen": chosen, "rejected": rejected, "tools": tools}
    pair = pair_of({"id": "p"} | row, "here")
    found = found_in(pair, contrast(pair.chosen.text, pair.rejected.text), Words())
    assert [finding.problem for finding in found] == []
