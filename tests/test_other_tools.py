"""Other trainers' own converters read what `cpt export` writes; skipped where they are not here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cpt.data import write_pairs

from . import tiny
from .test_export import CALL, PAIRS, exported


def own(module: str) -> Any:
    """A module of another tool; the test is skipped where it, or what it needs, is not here."""
    return pytest.importorskip(module, exc_type=ImportError)


@pytest.fixture(autouse=True)
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "pairs.parquet", PAIRS)


@pytest.mark.parametrize("name", ["pairs.parquet", "out.jsonl"])
def test_trl(cpt_cli: Any, name: str) -> None:
    trl, datasets = own("trl.data_utils"), own("datasets")
    if name == "out.jsonl":
        exported(cpt_cli, "trl")
    kind = "parquet" if name.endswith("parquet") else "json"
    rows = datasets.load_dataset(kind, data_files=name, split="train", cache_dir="cache")
    for row, pair in zip(rows, PAIRS, strict=True):
        row = trl.maybe_extract_prompt(row)
        assert trl.is_conversational(row)
        text = trl.apply_chat_template(
            {side: row[side] for side in ("prompt", "chosen", "rejected")}, tiny.tokenizer()
        )
        assert text["prompt"].endswith("<|im_start|>assistant\n")
        assert text["prompt"].count("<|im_start|>") == len(pair.prompt.messages) + 1
        for side in ("chosen", "rejected"):
            assert text[side] == f"{getattr(pair, side).text}<|im_end|>\n"


def test_llama_factory(cpt_cli: Any) -> None:
    converter, parser = own("llamafactory.data.converter"), own("llamafactory.data.parser")
    rows = exported(cpt_cli, "llama-factory")
    (about,) = parser.get_dataset_list(["out"], ".")
    assert about.ranking and about.formatting == "sharegpt"
    arguments = own("llamafactory.hparams.data_args").DataArguments()
    read = converter.get_dataset_converter(about.formatting, about, arguments)
    for row, pair in zip(rows, PAIRS, strict=True):
        found = read(row)
        answers = [turn["content"] for turn in found["_response"]]
        assert answers == [pair.chosen.text, pair.rejected.text], "chosen is the first of both"
        said = [turn["content"] for turn in found["_prompt"]]
        asked = [turn for turn in pair.prompt.messages if turn.role != "system"]
        assert len(said) == len(asked)
        assert all(turn.content in text for turn, text in zip(asked, said, strict=True))
        system = [turn.content for turn in pair.prompt.messages if turn.role == "system"]
        assert found["_system"] == "".join(system)
        assert ("weather" in found["_tools"]) is bool(pair.prompt.tools)


def test_ms_swift(cpt_cli: Any) -> None:
    swift = own("swift.dataset.preprocessor.core")
    datasets = own("datasets")
    exported(cpt_cli, "ms-swift")
    rows = datasets.load_dataset("json", data_files="out.jsonl", split="train", cache_dir="cache")
    read = swift.AutoPreprocessor()(rows, strict=True, load_from_cache_file=False)
    for row, pair in zip(read, PAIRS, strict=True):
        for key, side in (("messages", pair.chosen), ("rejected_messages", pair.rejected)):
            assert row[key][-1]["content"] == side.text
            roles = [turn["role"] for turn in row[key][:-1]]
            assert len(roles) == len(pair.prompt.messages)
            assert row[key][0]["content"] == pair.prompt.messages[0].content
        assert ("weather" in str(row.get("tools"))) is bool(pair.prompt.tools)
        calls = [turn["content"] for turn in row["messages"] if turn["role"] == "tool_call"]
        found = [json.loads(call) if isinstance(call, str) else call for call in calls]
        wanted = [CALL.name] if pair.prompt.tools else []
        assert [call["name"] for call in found] == wanted


def test_potato(cpt_cli: Any) -> None:
    server, items = own("potato.flask_server"), own("potato.item_state_management")
    users = own("potato.user_state_management")
    write_pairs("pairs.parquet", [PAIRS[0], PAIRS[2]])
    rows = exported(cpt_cli, "potato")
    properties = {"id_key": "id", "text_key": "text"}
    config: dict[str, Any] = {"item_properties": properties, "data_files": ["out.jsonl"]}
    users.init_user_state_manager(config)
    items.init_item_state_manager(config)
    server.load_instance_data(config)
    read = [item.get_data() for item in items.get_item_state_manager().items()]
    shown = ("id", "text", "responses")
    assert [[one[name] for name in shown] for one in read] == [
        [row[name] for name in shown] for row in rows
    ]
