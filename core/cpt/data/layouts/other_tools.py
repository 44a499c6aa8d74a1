"""Layouts of other tools, as the columns that are read here: `prompt`, `chosen`, `rejected`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from cpt.data.layouts.annotated import argilla
from cpt.data.layouts.messages import refuse_media
from cpt.data.rows.row import Row
from cpt.files import Refused, from_json

Values = dict[str, Any]
SIDES = (
    ("good_edited_response", "bad_edited_response"),
    ("edited_response", "original_response"),
    ("chosen_response", "rejected_response"),
    ("accepted", "rejected"),
)
"""What others call the two sides; the first two are HelpSteer3's edits."""


def usual(row: Row) -> Row:
    """The row with our columns, whatever tool it was written for. Raises `BadData`."""
    refuse_media(row.values, row)
    values = dict(row.values)
    for layout in LAYOUTS:
        layout(values)
    return row if values == row.values else attrs.evolve(row, values=values)


def _openai(values: Values) -> None:
    """OpenAI's preferences: `input`, `preferred_output`, `non_preferred_output`."""
    asked = values.get("input")
    if isinstance(asked, Mapping) and "messages" in asked:
        del values["input"]
        values["prompt"] = asked["messages"]
        if asked.get("tools"):
            values["tools"] = asked["tools"]
        _rename(values, {"preferred_output": "chosen", "non_preferred_output": "rejected"})


def _sharegpt(values: Values) -> None:
    """ShareGPT's `conversations`; LLaMA-Factory adds one message for each side."""
    _rename(values, {"conversations": "messages", "conversation": "messages"})
    for side in ("chosen", "rejected"):
        if isinstance(values.get(side), Mapping):
            values[side] = [values[side]]


def _swift(values: Values) -> None:
    """ms-swift: `messages` end with the chosen answer; the rejected one has its own column."""
    messages = values.get("messages")
    rejected = values.get("rejected_messages") or values.get("rejected_response")
    if rejected is None or values.get("rejected") is not None:
        return
    if isinstance(messages, Sequence) and not isinstance(messages, str) and len(messages) > 1:
        values["chosen"] = values.pop("messages")
        if not _is_whole(rejected):
            before = [turn for turn in messages[:-1]]
            rejected = [*before, *_turns(rejected)]
    elif values.get("response") is not None:
        _rename(values, {"response": "chosen"})
    else:
        return
    values["rejected"] = rejected
    values.pop("rejected_messages", None)
    values.pop("rejected_response", None)


def _is_whole(rejected: Any) -> bool:
    """Whether it is a conversation, not an answer alone."""
    return isinstance(rejected, list) and len(rejected) > 1


def _turns(answer: Any) -> list[Any]:
    if isinstance(answer, str):
        return [{"role": "assistant", "content": answer}]
    return answer if isinstance(answer, list) else [answer]


def _questions(values: Values) -> None:
    """`question` or `query`, where the usual columns are not there; other names of three more."""
    about = isinstance(values.get("context"), str)
    if all(values.get(name) in (None, "") for name in ("prompt", "messages", "instruction")):
        asked = "instruction" if about else "prompt"
        alone = {"input": asked} if values.get("input") and values.get("chosen") else {}
        _rename(values, {"question": asked, "query": asked, **alone})
    if about and values.get("instruction"):
        _rename(values, {"context": "input"})
    _rename(values, {"system_prompt": "system"})
    if isinstance(values.get("functions"), list):
        _rename(values, {"functions": "tools"})


def _published(values: Values) -> None:
    """Published preferences: SHP's `history` is a text, HelpSteer3 asks in `context`, JudgeLM in
    `question_body`, WebGPT in `question.full_text`."""
    if "human_ref_A" in values and isinstance(values.get("history"), str):
        _rename(values, {"history": "prompt"})
    if "response1" in values or "response_1" in values:
        _rename(values, {"context": "prompt"})
    if "answer1_body" in values:
        _rename(values, {"question_body": "prompt"})
    if "answer_0" in values and isinstance(values.get("question"), Mapping):
        values["question"] = values["question"].get("full_text")
    for names in SIDES:
        if None not in (values.get(name) for name in names):
            _rename(values, dict(zip(names, ("chosen", "rejected"), strict=True)))
            _rename(values, {"context": "prompt"})


def _summaries(values: Values) -> None:
    """OpenAI's summarize_from_feedback: the post or article is in `info`, asked as in the paper."""
    about = values.get("info")
    if not isinstance(about, Mapping) or not isinstance(values.get("summaries"), list):
        return
    named = {"subreddit": "SUBREDDIT: r/", "title": "TITLE: ", "post": "POST: ", "article": ""}
    parts = [f"{name}{about[key]}" for key, name in named.items() if about.get(key)]
    values["info"] = {key: about[key] for key in about if key not in ("post", "article")}
    values["prompt"] = "\n\n".join([*parts, "TL;DR:"]) if parts else None


def _beside(values: Values) -> None:
    """Ratings and authors of both sides, as UltraFeedback and its kin call them."""
    for ours, theirs, kind in (("score", "rating", float | int), ("author", "model", str)):
        for form in (f"{{}}_{theirs}", f"{{}}-{theirs}", f"{theirs}_{{}}"):
            names = {form.format(side): f"{side}_{ours}" for side in ("chosen", "rejected")}
            if all(isinstance(values.get(name), kind) for name in names):
                for old, new in names.items():
                    _rename(values, {old: new})


def _arena(values: Values) -> None:
    """Chatbot Arena's votes with `prompt`, `response_a`, `response_b` as JSON lists of turns."""
    names = ("prompt", "response_a", "response_b")
    asked, *answers = (_json_list(values.get(name)) for name in names)
    if asked is None or None in answers:
        return
    for side, said in zip(("conversation_a", "conversation_b"), answers, strict=True):
        values[side] = [
            {"role": role, "content": text or ""}
            for turn in zip(asked, said or (), strict=False)
            for role, text in zip(("user", "assistant"), turn, strict=True)
        ]
    for name in names:
        del values[name]


def _json_list(text: Any) -> list[Any] | None:
    if not isinstance(text, str) or not text.startswith("["):
        return None
    try:
        found = from_json(text)
    except (Refused, ValueError):
        return None
    return found if isinstance(found, list) else None


def _rename(values: Values, names: Mapping[str, str]) -> None:
    """Rename the first column that has a value, where the new name has none."""
    for old, new in names.items():
        if values.get(old) is not None and values.get(new) in (None, ""):
            values[new] = values.pop(old)


LAYOUTS: Sequence[Callable[[Values], None]] = (
    *(argilla, _openai, _sharegpt, _swift, _published, _summaries, _beside, _arena, _questions),
)
"""Each changes a row of its own layout, and no other."""
