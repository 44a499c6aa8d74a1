"""`cpt show pairs`: reading pairs in the terminal."""

import json

import pytest


@pytest.fixture
def pairs(tmp_path):
    rows = [
        {
            "id": f"p{row}",
            "prompt": f"Say {row}.",
            "chosen": f"The word is {row} \x1b[31mred",
            "rejected": f"The word is not {row}",
            "chosen_author": "good" if row % 2 else "better",
            "tier": row % 3,
        }
        for row in range(9)
    ]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_words_that_differ_are_marked(cpt_cli, pairs):
    shown = cpt_cli("show", "pairs", pairs, "--limit", "1")
    assert shown.exit_code == 0
    assert "── p0, tier 0\nuser: Say 0.\n" in shown.output
    assert "chosen by better\n" in shown.output
    assert "The word is [-not 0-]\n" in shown.output
    assert "\x1b" not in shown.output
    assert shown.output.endswith("1 of 9 pairs that fit.\n")


@pytest.mark.parametrize(
    ("more", "ids"),
    [
        (["--search", "say 7"], ["p7"]),
        (["--search", "p4"], ["p4"]),
        (["--author", "good", "--tier", "1"], ["p1", "p7"]),
        (["--tier", "5"], []),
    ],
)
def test_pairs_are_found_by_text_author_and_tier(cpt_cli, pairs, more, ids):
    found = json.loads(cpt_cli("show", "pairs", pairs, *more, "--json").stdout)
    assert [pair["id"] for pair in found["pairs"]] == ids
    assert found["found"] == len(ids)


def test_what_is_no_source_of_pairs_is_one_line(cpt_cli, tmp_path):
    refused = cpt_cli("show", "pairs", "nothere")
    assert refused.exit_code == 2 and refused.stderr == "cpt: nothere: no such file or folder.\n"
    assert "Print pairs of a file or a run" in cpt_cli("show", "pairs", "--help").output
    assert "loss" in cpt_cli("show").output
