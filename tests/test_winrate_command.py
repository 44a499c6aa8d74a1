"""`cpt winrate`: stored annotations scored, compared and merged; answers judged in both orders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cpt.cli import main

from .test_annotations import outputs, row, saved

LIKES = Path(__file__).parent / "plugins" / "likes.py"


def run(*line: object) -> Result:
    return CliRunner().invoke(main, ["winrate", "-p", str(LIKES), *map(str, line)])


def printed(*line: object) -> dict[str, Any]:
    done = run(*line, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(*line: object) -> str:
    done = run(*line)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.output
    return done.stderr


def table(path: Path, wins: list[Any]) -> Path:
    lines = [f"{place},p{place},{win},{100 + place},90" for place, win in enumerate(wins)]
    path.write_text("\n".join(["row,id,preference,len_1,len_2", *lines]) + "\n")
    return path


def test_it_prints_one_object_with_the_leaderboards_names(tmp_path: Path) -> None:
    found = printed(table(tmp_path / "a.csv", [2, 1, 0, "", 2, 1.75]))
    assert found["win_rate"] == pytest.approx(65)
    assert found["discrete_win_rate"] == pytest.approx(70)
    counts = [found[name] for name in ("n_wins", "n_wins_base", "n_draws", "n_total")]
    assert counts == [3, 1, 1, 5]
    low, high = found["interval"]
    assert low < 65 < high
    assert found["length_controlled_winrate"] is found["lc_standard_error"] is None
    assert found["lc_note"].startswith("needs the difficulty")


def test_weights_need_no_fit(tmp_path: Path) -> None:
    file = table(tmp_path / "a.csv", [2, 1])
    found = printed(file, "--weights", "-1,0,0")
    assert found["length_controlled_winrate"] == 50
    assert "needs --difficulty" in refused(file, "--weights", "1,1,1")
    assert "expected three numbers" in refused(file, "--weights", "1,2")
    assert "expected three numbers" in refused(file, "--weights", "1,2,nan")


def test_published_figures_come_out_of_the_command(published) -> None:
    folder = published("winrate")
    found = printed(
        folder / "weighted_alpaca_eval_gpt4_turbo" / "claude-2.csv",
        *("--difficulty", folder / "instruction_difficulty.csv"),
        *("--regularizer", folder / "gamed_regularizer.csv"),
    )
    assert found["win_rate"] == pytest.approx(17.188240356708075, abs=1e-6)
    assert found["length_controlled_winrate"] == pytest.approx(28.1552, abs=0.1)
    assert found["lc_interval"][0] < 28.15 < found["lc_interval"][1]


def test_several_files_are_compared_or_merged(tmp_path: Path) -> None:
    one = table(tmp_path / "one.csv", [2, 2, 2, 1])
    other = table(tmp_path / "other.csv", [1, 2, 1, 1])
    found = printed(one, other)
    (gap,) = found["differences"]
    assert (gap["value"], gap["n"]) == (50, 4)
    assert found["files"][str(other)]["win_rate"] == 25
    together = printed(one, other, "--merge", "--output", tmp_path / "merged")
    assert together["win_rate"] == 50
    assert printed(tmp_path / "merged" / "annotations.json")["win_rate"] == 50
    assert "share no prompt" in refused(one, saved(tmp_path / "x.json", [row()]))
    assert "--merge" in refused(one, other, "--output", tmp_path / "out")


def test_a_terminal_sees_a_line_for_each_figure(tmp_path: Path) -> None:
    said = run(table(tmp_path / "a.csv", [2, 1, 0])).stdout
    assert "1 won, 1 lost, 1 drawn of 3" in said
    assert "length-controlled" in said
    assert "None" not in said


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ((), "which annotations?"),
        (("nothing.json",), "no such file"),
        (("--outputs", "a.json"), "--outputs needs --reference"),
        (("a.json", "--outputs", "a.json"), "leave FILE out"),
        (("--judge", "nobody"), "No judge is called 'nobody'"),
    ],
)
def test_a_wrong_line_is_one_line(line: tuple[str, ...], said: str) -> None:
    assert said in refused(*line)


# With a judge


@pytest.fixture
def answers(tmp_path: Path) -> list[object]:
    ours = {f"ask {place}": "long answer" for place in range(3)} | {"same": "x", "mute": "no!"}
    theirs = {f"ask {place}": "short" for place in range(3)} | {"same": "x", "mute": "yes"}
    return [
        *("--outputs", outputs(tmp_path / "ours.json", ours, "mine")),
        *("--reference", outputs(tmp_path / "theirs.json", theirs, "base")),
        *("--judge", "likes", "--output", tmp_path / "judged"),
    ]


def test_answers_are_judged_in_both_orders_and_kept(tmp_path: Path, answers: list[object]) -> None:
    found = printed(*answers)
    assert (found["n_wins"], found["n_draws"], found["n_missing"]) == (3, 1, 1)
    assert (found["model"], found["baseline"]) == ("mine", "base")
    assert found["longer_preferred"] == 100
    stored = tmp_path / "judged" / "annotations.json"
    again = printed(stored)
    assert again == found
    assert json.loads(stored.read_text())[0]["annotator"] == "likes"
    outputs_there = json.loads((tmp_path / "judged" / "model_outputs.json").read_text())
    assert [one["generator"] for one in outputs_there] == ["mine"] * 5


def test_a_judge_that_likes_a_place_gives_draws_and_is_seen(answers: list[object]) -> None:
    found = printed(*answers, "--judge.first")
    assert found["win_rate"] == 50
    assert (found["shown_first"], found["shown_second"]) == (87.5, 12.5)
