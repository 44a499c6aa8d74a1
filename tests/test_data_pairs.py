"""Preference pairs, in and out: whatever the format, the prompt and the answers are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import datasets
import pytest

from cpt import CptError, Message, Pair
from cpt.data import read_pairs, write_pairs


def turn(role: str, content: str) -> dict[str, str]:
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
        ({"prompt": "a", "chosen": "b", "rejected": None}, "no pair: its rejected is empty."),
        ({"prompt": "", "chosen": "b", "rejected": "c"}, "no prompt: its prompt is empty."),
        ({"question": "a", "chosen": "b", "rejected": "c"}, "found question, chosen, rejected."),
        ({"chosen": "Paris ", "rejected": "London"}, "no prompt: expected a column prompt"),
        ({"chosen": [PARIS], "rejected": [LONDON]}, "no prompt: expected a column prompt"),
        ({"prompt": "a", "chosen": "b", "rejected": [LONDON]}, "not of one kind"),
        ({"prompt": "a", "chosen": "b", "rejected": "c", "margin": "x"}, "margin is 'x', not a"),
        ({"chosen": [ASK, PARIS], "rejected": [ASK, PARIS, ASK, PARIS]}, "more than one last"),
        ({"chosen": [ASK, PARIS, ASK], "rejected": [ASK, LONDON, ASK]}, "more than one last"),
        (
            {
                "chosen": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d",
                "rejected": "\n\nHuman: a\n\nAssistant: b",
            },
            "part before their last answer",
        ),
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
