"""`cpt export`: what other trainers read, and what comes back from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest

from cpt import Message, Pair, Prompt, Response, ToolCall
from cpt.cli.commands.export import LAYOUTS as NAMED
from cpt.data import Unusable, pairs_and_unusable, read_pairs, write_pairs
from cpt.data.exports import LAYOUTS
from cpt.data.layouts.annotated import PLACES

CALL = ToolCall("weather", '{"city": "Rome"}')
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def pair_of(name: str, *messages: Message, **sides: Any) -> Pair:
    prompt = Prompt(id=f"p{name}", messages=messages, tools=sides.pop("tools", ()))
    chosen, rejected = (
        Response(prompt_id=prompt.id, text=f"{side} {name} é", author="a", **sides.pop(side, {}))
        for side in ("chosen", "rejected")
    )
    return Pair(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        id=name,
        pairer="x",
        tier=2,
        margin=0.5,
        **sides,
    )


USER = Message("user", "Weather?")
PAIRS = [
    pair_of("one", USER, chosen_score=1.0, rejected_score=0.5, rationale="why", weight=2.0),
    pair_of(
        "two",
        Message("system", "Be short."),
        USER,
        Message("assistant", "", tool_calls=(CALL,)),
        Message("tool", "5 degrees"),
        tools=(TOOL,),
        info={"source": "made"},
    ),
    pair_of("three", USER, Message("assistant", "Where?"), Message("user", "Rome.")),
]


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "pairs.parquet", PAIRS)
    return tmp_path / "pairs.parquet"


def exported(cpt_cli: Any, layout: str, name: str = "out.jsonl") -> list[dict[str, Any]]:
    done = cpt_cli("export", "pairs.parquet", "--format", layout, "--output", name)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in Path(name).read_text("utf-8").splitlines()]


def test_the_command_knows_every_layout() -> None:
    assert list(NAMED) == list(LAYOUTS)


@pytest.mark.parametrize("layout", ["trl", "llama-factory", "ms-swift"])
def test_pairs_come_back_from_it(source: Path, layout: str, cpt_cli: Any) -> None:
    exported(cpt_cli, layout)
    assert read_pairs("out.jsonl") == PAIRS


def test_openai_has_what_was_asked_and_answered_alone(source: Path, cpt_cli: Any) -> None:
    rows = exported(cpt_cli, "openai")
    assert {*rows[0]} == {"input", "preferred_output", "non_preferred_output"}
    assert [*rows[1]["input"]] == ["messages", "tools"]
    for before, after in zip(PAIRS, read_pairs("out.jsonl"), strict=True):
        assert (after.prompt.messages, after.prompt.tools) == (
            before.prompt.messages,
            before.prompt.tools,
        )
        assert after.chosen.message == before.chosen.message
        assert after.rejected.message == before.rejected.message


def test_llama_factory_finds_the_file(source: Path, cpt_cli: Any) -> None:
    Path("dataset_info.json").write_text('{"other": {}}')
    rows = exported(cpt_cli, "llama-factory")
    assert rows[1]["conversations"] == [
        {"from": "human", "value": "Weather?"},
        {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
        {"from": "observation", "value": "5 degrees"},
    ]
    assert (rows[1]["system"], json.loads(rows[1]["tools"])) == ("Be short.", [TOOL])
    assert rows[0]["chosen"] == {"from": "gpt", "value": "chosen one é"}
    known = json.loads(Path("dataset_info.json").read_text())
    assert [*known] == ["other", "out"]
    assert known["out"]["file_name"] == "out.jsonl" and known["out"]["ranking"] is True


def test_what_a_layout_cannot_hold_is_counted(source: Path, cpt_cli: Any) -> None:
    twice = attrs.evolve(PAIRS[0].prompt, messages=(USER, USER))
    write_pairs(source, [*PAIRS, attrs.evolve(PAIRS[0], id="four", prompt=twice)])
    done = cpt_cli("export", "pairs.parquet", "--format", "llama-factory", "--output", "o.jsonl")
    assert "3 pairs in o.jsonl" in done.output
    assert "1 left out: questions and answers do not alternate" in done.output


def test_a_thought_is_a_part_of_the_text_where_a_layout_has_no_field(
    source: Path, cpt_cli: Any
) -> None:
    chosen = attrs.evolve(PAIRS[0].chosen, reasoning_content="hm")
    write_pairs(source, [attrs.evolve(PAIRS[0], chosen=chosen)])
    for layout in ("llama-factory", "ms-swift", "openai"):
        exported(cpt_cli, layout)
        (pair,) = read_pairs("out.jsonl")
        assert pair.chosen.text == "<think>\nhm\n</think>\n\nchosen one é"
    exported(cpt_cli, "trl")
    assert read_pairs("out.jsonl")[0].chosen == chosen


@pytest.mark.parametrize("layout", ["llama-factory", "ms-swift", "openai"])
def test_lines_are_a_jsonl_file(source: Path, layout: str, cpt_cli: Any) -> None:
    done = cpt_cli("export", "pairs.parquet", "--format", layout, "--output", "out.parquet")
    assert done.exit_code == 2
    assert "name a .jsonl file" in done.output
    assert not Path("out.parquet").exists()


def test_a_damaged_list_of_data_sets_is_one_line(source: Path, cpt_cli: Any) -> None:
    Path("dataset_info.json").write_text("[")
    done = cpt_cli("export", "pairs.parquet", "--format", "llama-factory", "--output", "o.jsonl")
    assert done.exit_code == 2 and "dataset_info.json: no list of data sets" in done.output


# Tools in which people compare answers


USER_ID = UUID(int=1)
WITHOUT_TOOLS = [PAIRS[0], PAIRS[2]]


def argilla(cpt_cli: Any, tmp_path: Path) -> list[dict[str, Any]]:
    write_pairs(tmp_path / "pairs.parquet", PAIRS)
    done = cpt_cli("export", "pairs.parquet", "--format", "argilla", "--output", "out.json")
    assert "2 pairs in out.json" in done.output and "1 left out: there are tools" in done.output
    found = json.loads(Path("out.json").read_text("utf-8"))
    assert isinstance(found, list)
    return found


def test_argilla_and_back(source: Path, tmp_path: Path, cpt_cli: Any) -> None:
    records = argilla(cpt_cli, tmp_path)
    assert records[1]["fields"]["prompt"][0] == {"role": "user", "content": "Weather?"}
    assert read_pairs("out.json") == WITHOUT_TOOLS


@pytest.mark.parametrize("swapped", [True, False])
def test_what_people_chose_is_the_label(
    source: Path, tmp_path: Path, cpt_cli: Any, swapped: bool
) -> None:
    first, second = argilla(cpt_cli, tmp_path)
    suggested = first["suggestions"]["preference"]["value"]
    other = {"response_a": "response_b", "response_b": "response_a"}[suggested]
    votes = [other, other, suggested] if swapped else [suggested]
    first["responses"] = {"preference": [{"value": vote, "user_id": "u"} for vote in votes]}
    draft = {"value": other, "user_id": "u", "status": "draft"}
    second["responses"] = {"preference": [draft]}
    Path("back.json").write_text(json.dumps([first, second]))
    pair, untouched = read_pairs("back.json")
    before = PAIRS[0]
    chosen, rejected = before.chosen, before.rejected
    expected = (rejected.text, chosen.text) if swapped else (chosen.text, rejected.text)
    assert (pair.chosen.text, pair.rejected.text) == expected
    assert pair.info["annotators"] == len(votes) and pair.weight == before.weight
    assert (pair.margin, pair.tier) == ((None, 0) if swapped else (before.margin, before.tier))
    assert untouched == PAIRS[2]


def test_ties_and_divided_people_give_no_pair(source: Path, tmp_path: Path, cpt_cli: Any) -> None:
    tie, divided = argilla(cpt_cli, tmp_path)
    for record, votes in ((tie, ["tie"]), (divided, ["response_a", "response_b"])):
        record["responses"] = {"preference": [{"value": vote, "user_id": "u"} for vote in votes]}
    Path("back.json").write_text(json.dumps([tie, divided]))
    found = list(pairs_and_unusable("back.json"))
    assert [one.reason for one in found if isinstance(one, Unusable)] == ["tie", "divided"]


def test_argilla_itself_reads_it_and_we_what_it_writes(
    source: Path, tmp_path: Path, cpt_cli: Any
) -> None:
    records = pytest.importorskip("argilla.records")
    responses = pytest.importorskip("argilla.responses")
    back = []
    for record in argilla(cpt_cli, tmp_path):
        read = records.Record.from_dict(record)
        vote = next(place for place in PLACES if place != read.suggestions["preference"].value)
        read.responses.add(responses.Response("preference", vote, USER_ID, status="submitted"))
        back.append(read.to_dict())
        assert {name: back[-1][name] for name in ("id", "fields", "suggestions")} == {
            name: record[name] for name in ("id", "fields", "suggestions")
        }
    Path("back.json").write_text(json.dumps(back))
    assert [(pair.chosen.text, pair.rejected.text) for pair in read_pairs("back.json")] == [
        (pair.rejected.text, pair.chosen.text) for pair in WITHOUT_TOOLS
    ]


def test_potato_shows_two_answers_in_either_order(source: Path, cpt_cli: Any) -> None:
    many = [attrs.evolve(PAIRS[0], id=str(number)) for number in range(40)]
    write_pairs(source, many)
    rows = exported(cpt_cli, "potato")
    assert {row["text"] for row in rows} == {"Weather?"}
    for row in rows:
        assert row["responses"]["AB".index(row["label"])] == "chosen one é"
    assert {row["label"] for row in rows} == {"A", "B"}
