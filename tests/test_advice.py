"""`cpt advise`: chosen answers against what the model says itself, and which loss suits them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import cpt
from cpt.cli import main
from cpt.data import Annotation
from cpt.matches import advice_of
from cpt.matches.advice import sample_of
from cpt.statistics import wilson

PLUGINS = Path(__file__).parent / "plugins"
WORDS = 5
"""Characters that the student says to everything: `aaaaa`."""


def run(*line: object) -> Result:
    plugins = ("-p", PLUGINS / "likes.py", "-p", PLUGINS / "echoes.py")
    return CliRunner().invoke(main, ["advise", *map(str, (*plugins, *line))])


def saved(path: Path, chosen: list[str]) -> Path:
    rows = (
        {"id": f"r{n}", "prompt": f"Q{n}", "chosen": text, "rejected": "-"}
        for n, text in enumerate(chosen)
    )
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def asked(pairs: Path) -> tuple[object, ...]:
    student = ("--generator", "echoes", "--model", "a" * WORDS)
    return (pairs, *student, "--judge", "likes", "--output", pairs.parent / "out")


def printed(pairs: Path, *more: object) -> dict[str, Any]:
    done = run(*asked(pairs), *more, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("chosen", "finding", "losses"),
    [
        (["longer than that"] * 12, "better", ["apo_zero"]),
        (["no"] * 12, "worse", ["apo_down"]),
        (["longer than that", "no"] * 6, "not clear", []),
        (["longer than that"] * 9, "not clear", []),
        (["bbbbb"] * 12, "not clear", []),
    ],
)
def test_the_finding_and_the_loss(
    tmp_path: Path, chosen: list[str], finding: str, losses: list[str]
) -> None:
    found = printed(saved(tmp_path / "pairs.jsonl", chosen))
    assert (found["chosen"], found["losses"], found["n"]) == (finding, losses, len(chosen))
    assert found["low"] < found["win_rate"] + 1e-9 and found["win_rate"] <= found["high"] + 1e-9
    assert found["won"] + found["lost"] + found["drawn"] == len(chosen)
    assert found["own_characters"] == WORDS


def test_a_sample_is_asked_once_and_says_why_others_are_missing(tmp_path: Path) -> None:
    pairs = saved(tmp_path / "pairs.jsonl", [*["longer than that"] * 14, *["unread!"] * 6])
    found = printed(pairs, "--sample", 15)
    assert (found["of"], found["from_journal"]) == (15, 0)
    again = printed(pairs, "--sample", 15)
    assert again["from_journal"] == 15
    assert again["n"] + again["missing"]["unread"] == 15
    stored = json.loads((tmp_path / "out" / "annotations.json").read_text())
    assert {row["output_1"] for row in stored} == {"a" * WORDS}
    shown = run(*asked(pairs), "--sample", 15).stdout
    assert "the chosen answers are better: preferred" in shown and "--loss apo_zero" in shown


def test_what_is_left_out_is_one_line(tmp_path: Path) -> None:
    pairs = saved(tmp_path / "pairs.jsonl", ["yes"])
    for line, said in (
        ((pairs, "--judge", "likes"), "--model must be given"),
        ((pairs, "--model", "x"), "--judge must be given"),
        (asked(tmp_path / "none.jsonl"), "none.jsonl"),
    ):
        done = run(*line)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.output
        assert said in done.stderr


def test_a_sample_has_each_prompt_once_whatever_the_order() -> None:
    def pair(n: int, prompt: int) -> cpt.Pair:
        return cpt.Pair(
            id=f"p{n}",
            prompt=cpt.Prompt(id=f"q{prompt}", messages=(cpt.Message("user", f"Q{prompt}"),)),
            chosen=cpt.Response(prompt_id=f"q{prompt}", text="yes", author="one"),
            rejected=cpt.Response(prompt_id=f"q{prompt}", text="no", author="other"),
        )

    pairs = [pair(n, n % 7) for n in range(21)]
    drawn = [one.prompt.id for one in sample_of(pairs, 5)]
    assert len(set(drawn)) == 5
    assert drawn == [one.prompt.id for one in sample_of(pairs[::-1], 5)]
    assert len(sample_of(pairs, 50)) == 7
    bad = [attrs.evolve(one, label=False) for one in pairs]
    assert sample_of(bad, 5) == []


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), max_size=40))
def test_a_finding_is_what_the_interval_says(wins: list[float]) -> None:
    of = [Annotation(win=win, instruction="", outputs=("", "")) for win in wins]
    found = advice_of(of)
    turned = advice_of([attrs.evolve(one, win=1 - (one.win or 0)) for one in of])
    opposite = {"better": "worse", "worse": "better", "not clear": "not clear"}
    assert turned.chosen == opposite[found.chosen]
    if len(wins) < 10:
        assert found.chosen == "not clear"
    elif found.low is not None and found.high is not None:
        assert (found.chosen == "better") == (found.low > 50)


def test_wilson_is_his() -> None:
    assert wilson(0.5, 100) == pytest.approx((0.40383, 0.59617), abs=1e-5)
    assert wilson(1.0, 10) == pytest.approx((0.72246, 1.0), abs=1e-4)
