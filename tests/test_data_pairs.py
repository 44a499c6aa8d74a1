"""Preference pairs, in and out: whatever the format, the prompt and the answers are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import datasets
import pyarrow.parquet as pq
import pytest

from cpt import CptError, Message, Pair, Prompt, Response, ToolCall
from cpt.data import (
    Unusable,
    pairs_and_unusable,
    read_pairs,
    read_prompts,
    read_responses,
    write_pairs,
)


def turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


ASK, PARIS, LONDON = (
    turn("user", "Where?"),
    turn("assistant", "Paris "),
    turn("assistant", "London"),
)
AGAIN = [ASK, PARIS, turn("user", "Sure?")]
TALK = "\n\nHuman: Where?\n\nAssistant: "
MORE = f"{TALK}Paris \n\nHuman: Sure?\n\nAssistant: "


def one(folder: Path, **row: Any) -> Pair:
    path = folder / "pairs.jsonl"
    path.write_text(json.dumps(row))
    (pair,) = read_pairs(path)
    return pair


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Where?", "chosen": "Paris ", "rejected": "London"},
        {"prompt": [ASK], "chosen": [PARIS], "rejected": [LONDON]},
        {"prompt": "Where?", "chosen": [PARIS], "rejected": [LONDON]},
        {"prompt": "Where?", "chosen": [ASK, PARIS], "rejected": [ASK, LONDON]},
        {"chosen": [ASK, PARIS], "rejected": [ASK, LONDON]},
        {"prompt": [ASK], "chosen": "Paris ", "rejected": "London"},
        {"chosen": f"{TALK}Paris ", "rejected": f"{TALK}London"},
        {"chosen": f"{TALK.lstrip()}Paris ", "rejected": f"{TALK.lstrip()}London"},
    ],
)
def test_the_formats_of_the_ecosystem(row: dict[str, Any], tmp_path: Path) -> None:
    pair = one(tmp_path, **row)
    assert pair.prompt.messages == (Message("user", "Where?"),)
    assert (pair.chosen.text, pair.rejected.text) == ("Paris ", "London")


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [*AGAIN, PARIS], "rejected": [*AGAIN, LONDON]},
        {"prompt": AGAIN, "chosen": [PARIS], "rejected": [LONDON]},
        {"prompt": "Where?", "chosen": [*AGAIN, PARIS], "rejected": [*AGAIN, LONDON]},
        {"prompt": [ASK], "chosen": [*AGAIN[1:], PARIS], "rejected": [*AGAIN[1:], LONDON]},
        {"prompt": AGAIN, "chosen": [AGAIN[-1], PARIS], "rejected": [AGAIN[-1], LONDON]},
        {"chosen": f"{MORE}Paris ", "rejected": f"{MORE}London"},
    ],
)
def test_all_turns_but_the_last_are_the_prompt(row: dict[str, Any], tmp_path: Path) -> None:
    pair = one(tmp_path, **row)
    assert pair.prompt.messages == tuple(Message(**turn) for turn in AGAIN)
    assert (pair.chosen.text, pair.rejected.text) == ("Paris ", "London")


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [("Paris ", "Pa"), ("Pa", "Paris "), ("Paris", "Paris"), ("", "Paris"), (" a", "  a")],
)
def test_one_answer_may_begin_with_the_other(chosen: str, rejected: str, tmp_path: Path) -> None:
    as_turns = one(
        tmp_path,
        chosen=[ASK, turn("assistant", chosen)],
        rejected=[ASK, turn("assistant", rejected)],
    )
    as_text = one(tmp_path, chosen=TALK + chosen, rejected=TALK + rejected)
    for pair in (as_turns, as_text):
        assert pair.prompt.messages == (Message("user", "Where?"),)
        assert (pair.chosen.text, pair.rejected.text) == (chosen, rejected)


def test_scores_of_ultrafeedback_are_a_margin(tmp_path: Path) -> None:
    pair = one(
        tmp_path,
        prompt="Where?",
        prompt_id="f00",
        chosen=[ASK, PARIS],
        rejected=[ASK, LONDON],
        score_chosen=8.5,
        score_rejected=6.0,
        source="evol",
    )
    assert (pair.chosen_score, pair.rejected_score, pair.margin) == (8.5, 6.0, 2.5)
    assert (pair.prompt.id, pair.info) == ("f00", {"source": "evol"})


def test_the_published_clair_format(tmp_path: Path) -> None:
    pair = one(tmp_path, prompt="Where?", chosen=[PARIS], rejected=[LONDON], rational="It is.")
    assert pair.rationale == "It is."


def test_rows_of_one_prompt_share_its_id(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("prompt,chosen,rejected,tier\na,b,c,2\na,d,e,1\nf,g,h,\n")
    first, second, other = read_pairs(path)
    assert first.prompt.id == second.prompt.id != other.prompt.id
    assert [pair.tier for pair in (first, second, other)] == [2, 1, 0]
    assert [pair.id for pair in (first, second, other)] == ["1", "2", "3"]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (
            {"prompt": "a", "chosen": "b"},
            "no pair: expected the columns chosen and rejected, found prompt, chosen.",
        ),
        (
            {"prompt": "a", "response1": "b"},
            "pairs of answers, votes or scores: cpt pair --prompts",
        ),
        ({"prompt": "a", "chosen": ["b"], "rejected": ["c", "d"]}, "are lists of answers; to make"),
        ({"prompt": "a", "chosen": "b", "rejected": None}, "no pair: its rejected is empty."),
        ({"prompt": "", "chosen": "b", "rejected": "c"}, "no prompt: its prompt is empty."),
        ({"topic": "a", "chosen": "b", "rejected": "c"}, "found topic, chosen, rejected."),
        (
            {"prompt": "a", "completion": "b", "label": "good"},
            "label is 'good', not true or false",
        ),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "history": "x"}, "history: expected a"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "tools": "x"}, "expected tools as JSON"),
        (
            {"system": "a", "prompt": [turn("system", "b"), ASK], "chosen": "b", "rejected": "c"},
            "different system messages",
        ),
        ({"chosen": "Paris ", "rejected": "London"}, "no prompt: expected a column prompt"),
        ({"chosen": [PARIS], "rejected": [LONDON]}, "no prompt: expected a column prompt"),
        ({"prompt": "a", "chosen": "b", "rejected": [LONDON]}, "not of one kind"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "margin": "x"}, "margin is 'x', not a"),
    ],
)
def test_rows_that_are_no_pairs(row: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises(CptError, match=complaint) as caught:
        one(tmp_path, **row)
    assert caught.value.format_message().startswith(f"{tmp_path}/pairs.jsonl:1: ")


def test_an_id_is_one_pairs_alone(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("id,prompt,chosen,rejected\n1,a,b,c\n1,d,e,f\n")
    with pytest.raises(CptError, match=r"pairs\.csv:3: the id '1' was used before"):
        read_pairs(path)


def test_the_ecosystem_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    made = one(tmp_path, prompt="Where?", chosen="Paris ", rejected="London", margin=2, tier=2)
    write_pairs(path, [made, attrs.evolve(made, id="2", margin=None)])
    table = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert table[0]["prompt"] == [ASK]
    assert table[0]["chosen"] == [PARIS]
    assert table[0]["rejected"] == [LONDON]
    assert table["margin"] == [2.0, None]
    assert {"id", "pairer", "tier", "chosen_author", "rejected_author", "scores"} <= {
        *table.column_names
    }


def test_a_failed_write_leaves_the_old_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.parquet"
    pair = one(tmp_path, prompt="Where?", chosen="Paris ", rejected="London")
    write_pairs(path, [pair])

    def breaking() -> Any:
        yield attrs.evolve(pair, id="2")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_pairs(path, breaking())
    assert read_pairs(path) == [pair]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pairs.jsonl", "pairs.parquet"]


CALL = {"type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"question": "Where?"}, [ASK]),
        ({"question": "Where?", "context": "It is here."}, [turn("user", "Where?\n\nIt is here.")]),
        ({"instruction": "Where?", "context": "Here."}, [turn("user", "Where?\n\nHere.")]),
        ({"instruction": "Where?", "context": ""}, [ASK]),
        ({"query": "Where?", "system_prompt": "Be short."}, [turn("system", "Be short."), ASK]),
        ({"system": "Be short.", "prompt": "Where?"}, [turn("system", "Be short."), ASK]),
        ({"system": "", "instruction": "Where?", "history": []}, [ASK]),
        (
            {"system": "S", "instruction": "Where?", "history": [["A?", "B."]]},
            [turn("system", "S"), turn("user", "A?"), turn("assistant", "B."), ASK],
        ),
        ({"prompt": [turn("user", [{"type": "text", "text": "Where?"}])]}, [ASK]),
        ({"conversations": [{"from": "human", "value": "Where?"}]}, [ASK]),
        (
            {"conversations": [{"from": "system", "value": "S"}, {"from": "human", "value": "Q"}]},
            [turn("system", "S"), turn("user", "Q")],
        ),
        ({"prompt": [turn("developer", "S"), ASK]}, [turn("system", "S"), ASK]),
    ],
)
def test_other_ways_to_ask(row: dict[str, Any], prompt: list[Any], tmp_path: Path) -> None:
    pair = one(tmp_path, **row, chosen="Paris ", rejected="London")
    assert [message.plain() for message in pair.prompt.messages] == prompt
    assert not pair.info
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps(row))
    (asked,) = read_prompts(path)
    assert (asked.messages, asked.info) == (pair.prompt.messages, {})


@pytest.mark.parametrize(
    "row",
    [
        {
            "conversations": [{"from": "human", "value": "Where?"}],
            "chosen": {"from": "gpt", "value": "Paris "},
            "rejected": {"from": "gpt", "value": "London"},
        },
        {"messages": [ASK, PARIS], "rejected_response": "London"},
        {"messages": [ASK, PARIS], "rejected_messages": [ASK, LONDON]},
        {"query": "Where?", "response": "Paris ", "rejected_response": "London"},
        {
            "input": {"messages": [ASK], "tools": [], "parallel_tool_calls": True},
            "preferred_output": [PARIS],
            "non_preferred_output": [LONDON],
        },
    ],
)
def test_the_layouts_of_other_tools(row: dict[str, Any], tmp_path: Path) -> None:
    pair = one(tmp_path, **row)
    assert pair.prompt.messages == (Message("user", "Where?"),)
    assert (pair.chosen.text, pair.rejected.text, pair.info) == ("Paris ", "London", {})


def test_calls_of_tools_and_thoughts_are_kept(tmp_path: Path) -> None:
    asks = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    answers = {"role": "tool", "content": "5 degrees", "tool_call_id": "c1", "name": "weather"}
    pair = one(
        tmp_path,
        prompt=[ASK, asks, answers],
        chosen=[{**PARIS, "reasoning_content": "France."}],
        rejected=[{**LONDON, "tool_calls": [CALL]}],
        tools=json.dumps([WEATHER]),
    )
    call = ToolCall("weather", '{"city": "Rome"}')
    assert pair.prompt.messages[1] == Message("assistant", "", tool_calls=(call,))
    assert pair.prompt.messages[2] == Message(
        "tool", "5 degrees", tool_call_id="c1", name="weather"
    )
    assert pair.prompt.tools == (WEATHER,)
    assert (pair.chosen.reasoning_content, pair.rejected.tool_calls) == ("France.", (call,))
    plain = one(tmp_path, prompt=[ASK], chosen="a", rejected="b")
    rows = [attrs.evolve(plain, id="0"), pair, attrs.evolve(plain, id="2")]
    for name in ("pairs.parquet", "again.jsonl"):
        write_pairs(tmp_path / name, rows)
        assert read_pairs(tmp_path / name) == rows


@pytest.mark.parametrize(
    "call",
    [
        {"name": "weather", "arguments": {"city": "Rome"}},
        [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}],
    ],
)
def test_a_call_may_be_a_turn_of_its_own(call: Any, tmp_path: Path) -> None:
    asked = [
        {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": json.dumps(call)},
        {"from": "observation", "value": "5 degrees"},
    ]
    pair = one(tmp_path, conversations=asked, chosen="a", rejected="b")
    calls = (ToolCall("weather", '{"city": "Rome"}'),)
    assert pair.prompt.messages[1] == Message("assistant", "", tool_calls=calls)
    assert pair.prompt.messages[2] == Message("tool", "5 degrees")


def test_a_file_of_plain_pairs_has_plain_columns(tmp_path: Path) -> None:
    write_pairs(tmp_path / "p.parquet", [one(tmp_path, prompt="a", chosen="b", rejected="c")])
    schema = pq.read_schema(tmp_path / "p.parquet")
    assert "tools" not in schema.names
    assert [field.name for field in schema.field("chosen").type.value_type] == ["role", "content"]


@pytest.mark.parametrize(
    "row",
    [
        {"chosen": [ASK, PARIS], "rejected": [ASK, PARIS, ASK, PARIS]},
        {"chosen": [ASK, PARIS, ASK], "rejected": [ASK, LONDON, ASK]},
        {"chosen": f"{MORE}a", "rejected": f"{TALK}b\n\nHuman: Sure?\n\nAssistant: c"},
        {"chosen": f"{MORE}a", "rejected": f"{TALK}Paris "},
        {"chosen": f"{TALK}a", "rejected": "\n\nHuman: Who?\n\nAssistant: b"},
    ],
)
def test_rows_that_part_early_are_left_out_and_counted(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    good = {"prompt": "a", "chosen": "b", "rejected": "c"}
    path.write_text(f"{json.dumps(good)}\n{json.dumps(row)}\n")
    first, second = pairs_and_unusable(path)
    assert isinstance(first, Pair) and read_pairs(path) == [first]
    assert isinstance(second, Unusable)
    assert (second.id, second.reason) == ("2", "parts_early")
    assert second.detail == f"{path}:2: the two conversations part before their last answer"


def test_one_answer_with_a_label_is_a_response(tmp_path: Path) -> None:
    path = tmp_path / "kto.jsonl"
    path.write_text(json.dumps({"prompt": [ASK], "completion": [PARIS], "label": True}))
    ((prompt, response),) = read_responses(path)
    assert (response.text, prompt.info) == ("Paris ", {"label": True})


def test_pairs_carry_what_their_prompt_is_labelled_with(tmp_path: Path) -> None:
    info = {"domain": "math", "turn": 2, "tags": ["a"], "long": "x" * 201, "responses": {"a": "b"}}
    prompt = Prompt(id="p", messages=(Message("user", "Why?"),), info=info)
    sides = [Response(prompt_id="p", text=text, author=text) for text in "ab"]
    write_pairs(
        tmp_path / "pairs.parquet", [Pair(prompt=prompt, chosen=sides[0], rejected=sides[1])]
    )
    (read,) = read_pairs(tmp_path / "pairs.parquet")
    assert read.prompt.info == {"domain": "math", "turn": 2, "tags": ["a"]}


@pytest.mark.parametrize(
    ("row", "detail"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "c", "images": ["x.png"]}, "images cannot be"),
        (
            {"prompt": "a", "chosen": [{**PARIS, "audio": {"id": "x"}}], "rejected": [LONDON]},
            "audio cannot be used",
        ),
        (
            {"prompt": [turn("user", [{"type": "image_url"}])], "chosen": "b", "rejected": "c"},
            "a part of the type 'image_url' cannot be used",
        ),
    ],
)
def test_a_row_with_an_image_is_counted(row: dict[str, Any], detail: str, tmp_path: Path) -> None:
    lines = [row, {"prompt": "a", "chosen": "b", "rejected": "c"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    unusable, pair = pairs_and_unusable(path)
    assert isinstance(unusable, Unusable) and unusable.reason == "media"
    assert detail in unusable.detail and read_pairs(path) == [pair]
