"""`cpt judge`: a judge against the labels of pairs, and two sets of stored judgements."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cpt.cli import main
from cpt.data import read_annotations

from .judge_server import JudgeServer, judging
from .loopback import in_a_thread

LIKES = Path(__file__).parent / "plugins" / "likes.py"


def run(*line: object) -> Result:
    return CliRunner().invoke(main, ["judge", "-p", str(LIKES), *map(str, line)])


def printed(*line: object) -> dict[str, Any]:
    done = run(*line, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def refused(*line: object) -> str:
    done = run(*line)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.output
    return done.stderr


def served(**behaviour: Any) -> AbstractContextManager[JudgeServer]:
    """A judge that answers while the command runs."""
    return in_a_thread(judging(**behaviour))


def asking(server: JudgeServer) -> tuple[object, ...]:
    place = ("--judge.responder.base-url", server.url)
    return ("--judge", "pairwise", "--judge.responder", "server:j", *place)


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Four pairs: the chosen answer is the longer one in three, and the `good` one in three."""
    rows = [
        ("a good answer", "bad"),
        ("good as well", "bad too"),
        ("good", "bad and long"),
        ("bad and long", "good"),
    ]
    file = tmp_path / "pairs.jsonl"
    lines = (
        json.dumps({"id": f"r{n}", "prompt": f"Q{n}", "chosen": one, "rejected": other})
        for n, (one, other) in enumerate(rows)
    )
    file.write_text("\n".join(lines))
    return file


def test_a_judge_against_the_labels(pairs: Path, tmp_path: Path) -> None:
    found = printed(pairs, "--judge", "likes", "--output", tmp_path / "out")
    assert (found["n"], found["unparsed"], found["agreement"]) == (4, 0, 0.75)
    assert (found["longer_wins"], found["longer_preferred"]) == (0.75, 1.0)
    assert found["position_bias"] is None
    assert found["kappa"] == 0.0


def test_over_the_wire_in_both_orders_once(pairs: Path, tmp_path: Path) -> None:
    with served() as server:
        line = (pairs, *asking(server), "--output", tmp_path / "out")
        found = printed(*line)
        assert (found["n"], found["agreement"], found["position_bias"]) == (4, 0.75, 0.5)
        assert (found["longer_preferred"], found["flips"]) == (0.5, 0.0)
        assert (found["requests"], len(server.asked)) == (8, 8)
        again = printed(*line)
        assert (again["requests"], again["from_journal"]) == (0, 8)
        assert len(server.asked) == 8
    same = ("agreement", "kappa", "longer_wins", "position_bias", "unparsed", "n")
    assert [again[name] for name in same] == [found[name] for name in same]


def test_a_judge_of_one_side_is_found_out(pairs: Path, tmp_path: Path) -> None:
    with served(prefers=lambda one, other: "A") as server:
        line = (pairs, *asking(server), "--judge.form", "json", "--output", tmp_path / "out")
        found = printed(*line)
        assert (found["position_bias"], found["flips"], found["ties"]) == (1.0, 1.0, 1.0)
        assert found["agreement"] == 0.0
        shown = run(*line).stdout
    assert "position: the answer shown first wins 100.0%; 100.0% flip with the order" in shown


def test_nonsense_is_counted_with_its_reason(pairs: Path, tmp_path: Path) -> None:
    with served(text="I cannot say.") as server:
        line = (pairs, *asking(server), "--judge.form", "text", "--output", tmp_path / "out")
        done = run(*line, "--json")
        found = json.loads(done.stdout)
        assert (found["unparsed"], found["n"], found["agreement"]) == (4, 0, None)
        assert found["reasons"] == {"unread": 4}
        assert done.exit_code == 2 and "no verdict on any of 4 pairs (unread 4)" in done.stderr
        assert "unparsed 4 (unread 4); for example: no verdict for A or B" in run(*line).stdout
    (stored,) = {row["note"] for row in lines_of(tmp_path / "out")}
    assert stored.startswith("unread: no verdict")


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "judgements.jsonl").open()]


def test_what_it_writes_is_a_judge_and_a_label_again(pairs: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with served() as server:
        printed(pairs, *asking(server), "--output", first)
    stored = first / "judgements.jsonl"
    assert [round(one.win or 0, 2) for one in read_annotations(stored)] == [0.95] * 3 + [0.05]
    assert all(len(row["comparisons"]) == 2 and row["label"] == 2 for row in lines_of(first))
    found = printed(pairs, "--judge", f"recorded:{stored}", "--output", second)
    assert (found["n"], found["agreement"], found["requests"]) == (4, 0.75, 0)
    found = printed(stored, "--judge", "likes", "--output", tmp_path / "third")
    assert (found["n"], found["agreement"]) == (4, 0.5)


def test_judgements_of_other_pairs_are_not_replaced_unasked(pairs: Path, tmp_path: Path) -> None:
    """More of the same pairs are judged on; other ones, and the same ones changed, are not."""
    line = ("--judge", "likes", "--output", tmp_path / "out")
    assert printed(pairs, *line, "--limit", 2)["n"] == 2
    assert printed(pairs, *line)["n"] == 4
    before = lines_of(tmp_path / "out")
    other = tmp_path / "other.jsonl"
    other.write_text(pairs.read_text().splitlines()[0])
    assert f"holds judgements of other pairs ({pairs})" in refused(other, *line)
    assert lines_of(tmp_path / "out") == before
    assert printed(other, *line, "--redo")["n"] == 1
    assert len(lines_of(tmp_path / "out")) == 1


def test_a_judge_that_is_refused_is_said_so(pairs: Path, tmp_path: Path) -> None:
    with served(refuses={"messages": (400, "it is odd")}) as server:
        done = run(pairs, *asking(server), "--judge.form", "text", "--limit", 1, *out(tmp_path))
    assert (done.exit_code, "all 2 requests were rejected" in done.stderr) == (1, True), done.output
    assert "it is odd" in done.stderr and "continues" not in done.stderr


def out(folder: Path) -> tuple[object, ...]:
    return "--output", folder / "out"


def test_the_label_cannot_be_told_by_the_place(tmp_path: Path) -> None:
    """A judge that takes the first place and does not turn answers round agrees with half."""
    file = tmp_path / "pairs.jsonl"
    rows = ({"prompt": f"Q{n}", "chosen": f"a{n}", "rejected": f"b{n}"} for n in range(200))
    file.write_text("\n".join(map(json.dumps, rows)))
    found = printed(file, "--judge", "likes", "--judge.first", "--output", tmp_path / "out")
    assert found["agreement"] == pytest.approx(0.5, abs=0.12)


def test_what_is_wrong_is_one_line(pairs: Path, tmp_path: Path) -> None:
    assert "--judge must be given" in refused(pairs)
    assert "no such file" in refused(tmp_path / "none.jsonl", "--judge", "likes")
    assert "has no function" in refused(pairs, "--judge", f"checker:{LIKES}:none")
    stored = tmp_path / "a.jsonl"
    stored.write_text(json.dumps({"id": "x", "preference": 7}))
    assert "preference" in refused(stored, "--judge", "likes", "--output", tmp_path / "o")
    assert not (tmp_path / "o").exists()


def test_a_budget_that_ends_goes_on_with_a_larger_one(pairs: Path, tmp_path: Path) -> None:
    prices = tmp_path / "prices.yaml"
    prices.write_text('"*":\n  j: {input: 1000, output: 1000}\n')
    with served() as server:
        line = (pairs, *asking(server), "--output", tmp_path / "out", "--asking.prices", prices)
        done = run(*line, "--budget", "0.02")
        assert (done.exit_code, "the budget is used up" in done.stderr) == (1, True), done.output
        assert not (tmp_path / "out" / "judgements.jsonl").exists()
        done = run(*line, "--budget", "100", "--json")
        assert (done.exit_code, json.loads(done.stdout)["n"]) == (0, 4)


def test_a_folder_without_judgements_takes_other_pairs(pairs: Path, tmp_path: Path) -> None:
    prices, other = tmp_path / "prices.yaml", tmp_path / "other.jsonl"
    prices.write_text('"*":\n  j: {input: 1000, output: 1000}\n')
    other.write_text(pairs.read_text().splitlines()[0])
    with served() as server:
        line = (*asking(server), "--asking.prices", prices, "--budget", "0.02")
        assert run(pairs, *line, "--output", tmp_path / "out").exit_code == 1
    assert printed(other, "--judge", "likes", "--output", tmp_path / "out")["n"] == 1


def test_two_published_judges_agree_as_published(
    published: Callable[[str], Path], tmp_path: Path
) -> None:
    """Section 2.6 of the evaluation notes: cot against weighted, on gpt-3.5-turbo-0301."""
    ranking = published("judgements/raw_ranking.alpaca_eval_cot_gpt4_turbo_fn.jsonl.gz")
    weighted = published("judgements/raw_logprob.weighted_alpaca_eval_gpt4_turbo.jsonl.gz")
    found = printed(ranking, "--judge", f"recorded:{weighted}", "--output", tmp_path)
    assert (found["n"], found["unparsed"]) == (805, 805)
    assert found["agreement"] == pytest.approx(0.923, abs=5e-4)
    assert found["kappa"] == pytest.approx(0.468, abs=5e-4)
