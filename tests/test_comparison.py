"""Runs side by side, and the gate that says whether a model may ship."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner, Result

from cpt.cli import main
from cpt.errors import BadData, CptError
from cpt.report.formatting import with_interval
from cpt.report.html import render
from cpt.report.read.run import read_run
from cpt.report.read.scores import read_scores
from cpt.run.record.folder import Folder
from cpt.run.results.compare import compare
from cpt.run.results.gate import checks
from cpt.run.results.read import open_run
from cpt.run.results.scores import write_scores
from cpt.types import Missing, Score

from .pages import Page, faults

Values = Mapping[str, list[float]]


def a_run(
    path: Path,
    after: Values,
    before: Values | None = None,
    *,
    loss: str = "dpo",
    prompts: str = "one",
    prefix: str = "p",
    more: Mapping[str, Score] | None = None,
    made: Mapping[str, Any] | None = None,
) -> Path:
    """The folder of a run that was measured; `made` are the options of other stages."""
    folder = Folder(path)
    folder.open({"loss": {"name": loss}, "output": str(path)})
    options = {"evaluators": [{"name": "judged"}], "eval_prompts": f"{prompts}.jsonl"}
    stages = {"model": {"loss": {"name": loss, "beta": 0.1}}, "scores": options, **(made or {})}
    for name, given in stages.items():
        content = {"eval_prompts": prompts} if name == "scores" else {}
        folder.begin(name, {"options": given, "content": content})
        folder.finish(name, 1.0, {})
    scores = {
        model: {
            name: Score.mean({f"{prefix}{place}": one for place, one in enumerate(values)})
            for name, values in named.items()
        }
        for model, named in {"before": before or {}, "after": after}.items()
    }
    scores["after"] |= more or {}
    write_scores(path / "scores.json", scores)
    return path


def run(*line: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in line])


HIGH, LOW = [0.9, 0.8, 0.9, 0.7] * 5, [0.2, 0.3, 0.1, 0.2] * 5


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    return [
        a_run(tmp_path / "a", {"judged/greedy": HIGH, "checks/share": LOW}),
        a_run(tmp_path / "b", {"judged/greedy": LOW, "checks/share": LOW}, loss="apo_zero"),
        a_run(tmp_path / "c", {"judged/greedy": HIGH}, loss="apo_zero"),
    ]


# Side by side


def test_differences_are_paired_and_corrected_for_their_number(three: list[Path]) -> None:
    found = compare(three)
    assert found.comparisons == 3
    gap = found.differences["judged/greedy"][str(three[1])]
    assert gap.value == pytest.approx(-0.625)
    alone = compare(three[:2]).differences["judged/greedy"][str(three[1])]
    assert gap.high - gap.low > alone.high - alone.low
    assert str(three[2]) not in found.scores["checks/share"]


def test_what_differs_in_their_options_is_named(three: list[Path]) -> None:
    assert compare(three).options == {"loss": ("dpo", "apo_zero", "apo_zero")}


def test_another_component_is_one_line_with_what_only_it_has(tmp_path: Path) -> None:
    ladder = {"name": "ladder", "rungs": ["a", "b"], "seed": 1, "judge": None}
    clair = {"name": "clair", "seed": 2, "judge": {"name": "llm", "tries": 3}}
    paths = [tmp_path / name for name in "ab"]
    for path, pairer in zip(paths, (ladder, clair), strict=True):
        a_run(path, {"judged/greedy": HIGH}, made={"pairs": {"pairer": pairer}})
    found = compare(paths)
    assert found.by_component == {
        "pairer": [
            ("ladder", {"rungs": ["a", "b"]}),
            ("clair", {"judge": "llm", "judge.tries": 3}),
        ],
        "pairer.seed": [(1, {}), (2, {})],
    }
    done = run("report", *paths, "--page", tmp_path / "page.html")
    assert done.stdout.splitlines()[-3:-1] == ["pairer: ladder | clair", "pairer.seed: 1 | 2"]
    said = Page((tmp_path / "page.html").read_text()).table("Options that are not the same")
    assert said[1] == ["pairer", 'ladderrungs: ["a", "b"]', "clairjudge: llmjudge.tries: 3"]
    plain = json.loads(run("report", *paths, "--page", tmp_path / "page.html", "--json").stdout)
    assert plain["options"]["pairer.rungs"] == [["a", "b"], None]


def test_long_options_that_look_alike_are_on_the_page(tmp_path: Path) -> None:
    runs = [
        a_run(
            tmp_path / one, {"x/y": HIGH}, made={"pairs": {"words": f"{'a' * 50}{one}{'a' * 50}"}}
        )
        for one in "ab"
    ]
    done = run("report", *runs, "--page", tmp_path / "page.html")
    assert "words: long, see the page" in done.stdout
    assert f"{'a' * 50}b" in (tmp_path / "page.html").read_text()


def test_prompts_that_only_share_a_number_are_not_compared(tmp_path: Path) -> None:
    one = a_run(tmp_path / "a", {"judged/greedy": HIGH}, prefix="row-")
    other = a_run(tmp_path / "b", {"judged/greedy": LOW}, prefix="row-", prompts="two")
    same = a_run(tmp_path / "c", {"judged/greedy": LOW}, prefix="row-")
    assert compare([one, other]).differences == {}
    assert compare([one, same]).comparisons == 1


def test_a_score_without_values_by_prompt_has_no_difference(tmp_path: Path) -> None:
    lc = Score(value=55.0, low=50.0, high=60.0)
    runs = [a_run(tmp_path / name, {"w/raw": HIGH}, more={"w/lc": lc}) for name in "ab"]
    found = compare(runs)
    assert list(found.differences) == ["w/raw"]
    assert list(found.scores) == ["w/raw", "w/lc"]


def test_a_terminal_and_a_page_show_the_same(three: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("report", *three, "--page", page)
    assert done.exit_code == 0, done.output
    assert "minus the first" in done.stdout
    assert "-0.625" in done.stdout
    assert "loss: dpo | apo_zero | apo_zero" in done.stdout
    shown = Page(page.read_text())
    assert faults(shown) == []
    assert any("\u22120.6" in cell for cell in shown.table("judged/greedy")[2])
    assert shown.table("Options that are not the same")[1] == ["loss", "dpo", *["apo_zero"] * 2]
    before = page.read_bytes()
    run("report", *three, "--page", page)
    assert page.read_bytes() == before


def test_a_program_reads_one_object(three: list[Path], tmp_path: Path) -> None:
    done = run("report", *three[:2], "--page", tmp_path / "page.html", "--json")
    found = json.loads(done.stdout)
    assert (found["comparisons"], found["correction"]) == (2, "bonferroni")
    assert found["differences"]["checks/share"][str(three[1])]["value"] == 0
    assert "each" not in done.stdout


def test_names_on_the_page_are_text(tmp_path: Path) -> None:
    name = "judged/<script>alert(1)</script>"
    runs = [a_run(tmp_path / one, {name: HIGH}, loss=f"<img {one}>") for one in "ab"]
    page = tmp_path / "page.html"
    assert run("report", *runs, "--page", page).exit_code == 0
    assert faults(Page(page.read_text())) == []
    assert "<script" not in page.read_text() and "<img" not in page.read_text()


def test_what_is_no_comparison_is_one_line(three: list[Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    for line, said in (
        ([three[0], three[0]], "each of them once"),
        ([three[0], three[0] / ".." / three[0].name], "each of them once"),
        ([three[0], tmp_path / "nothing"], "there is no run in this folder"),
        ([], "which run?"),
    ):
        done = run("report", *line, "--page", page)
        assert (done.exit_code, said in done.stderr, done.stderr.count("\n")) == (2, True, 1)
    (three[1] / "scores.json").unlink()
    with pytest.raises(BadData, match="`cpt eval` writes it"):
        compare(three)
    assert not page.exists()


def test_no_secret_is_printed_or_written(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / name, {"x/y": HIGH}, loss=f"http://me:{name}@host") for name in "ab"]
    page = tmp_path / "page.html"
    for more in ([], ["--json"]):
        done = run("report", *runs, "--page", page, *more)
        assert "***@host" in done.stdout
        assert "me:a" not in done.stdout + page.read_text()


# The gate


@pytest.fixture
def shipped(tmp_path: Path) -> Path:
    better = {"judged/greedy": HIGH, "checks/strict": LOW, "checks/loose": LOW}
    before = {"judged/greedy": LOW, "checks/strict": HIGH, "checks/loose": LOW}
    lc = Score(value=55.0, low=48.0, high=60.0)
    return a_run(tmp_path / "run", better, before, more={"win_rate/lc": lc})


@pytest.mark.parametrize(
    ("condition", "passed"),
    [
        ("win_rate/lc >= 50", True),
        ("win_rate/lc>=55", True),
        ("win_rate/lc > 55", False),
        ("win_rate/lc.low > 50", False),
        ("win_rate/lc.high <= 60", True),
        ("judged/greedy < 1e-1", False),
    ],
)
def test_a_condition_is_on_a_score_or_an_end_of_its_interval(
    shipped: Path, condition: str, passed: bool
) -> None:
    (check,) = checks(shipped, require=[condition])
    assert check.passed is passed


def test_worse_is_worse_beyond_chance(shipped: Path) -> None:
    (same,) = checks(shipped, no_worse=["checks/loose"])
    assert same.passed
    strict, loose = checks(shipped, no_worse=["checks"])
    assert (strict.passed, loose.passed) == (False, True)
    assert "changed by -0.625" in strict.reason


def test_an_evaluator_stands_for_its_scores_of_quality(shipped: Path) -> None:
    file = shipped / "scores.json"
    meanings = {"quality": ["checks/loose", "judged/greedy"], "side_effects": {}}
    file.write_text(json.dumps(json.loads(file.read_text()) | {"meanings": meanings}))
    (loose,) = checks(shipped, no_worse=["checks"])
    assert loose.passed and loose.condition.startswith("checks/loose ")


def test_what_is_better_low_is_worse_where_it_rises(tmp_path: Path) -> None:
    path = a_run(tmp_path / "run", {"x/bad": HIGH, "x/words": LOW}, {"x/bad": LOW, "x/words": HIGH})
    file = path / "scores.json"
    plain = json.loads(file.read_text())
    file.write_text(json.dumps(plain | {"meanings": {"lower_is_better": ["x/bad"]}}))
    (rose,) = checks(path, no_worse=["x"])
    assert not rose.passed and "lower is better" in rose.reason
    (fell,) = checks(path, no_worse=["x"], against=a_run(tmp_path / "o", {"x/bad": [1.0] * 20}))
    assert fell.passed
    (unsure,) = checks(path, no_worse=["x/bad"], margin=0.1)
    (wide,) = checks(path, no_worse=["x/bad"], margin=2.0)
    assert (unsure.passed, wide.passed) == (False, True)


def test_a_score_of_pairs_says_so(tmp_path: Path) -> None:
    pairs = attrs.evolve(Score.mean({"a": 1.0, "b": 0.5}, {"c": Missing("long")}), unit="pairs")
    path = a_run(tmp_path / "run", {"x/y": HIGH}, {"x/y": LOW}, more={"pa/accuracy": pairs})
    assert open_run(path).scores["after"]["pa/accuracy"] == pairs
    (check,) = checks(path, require=["pa/accuracy > 0.5"])
    assert "2 of 3 pairs measured" in check.reason
    shown = read_scores(path)[1]
    assert (shown.unit, shown.count) == ("pairs", 3)
    assert with_interval(shown.results[0].score, 2).endswith("(2 of 3 pairs)")


def test_many_scores_are_also_in_one_table_and_what_is_missing_is_said_once(tmp_path: Path) -> None:
    names = ("x/a", "x/b", "x/c")
    some = Score.mean({"p0": 1.0, "p1": 0.0}, {"p2": Missing("unread", "mumbled")})
    values = dict.fromkeys(names, HIGH)
    path = a_run(tmp_path / "run", values, values, more={"judged/some": some})
    page: Any = read_run(path)
    text = render(page)
    assert text.count("All scores at a glance") == 1
    assert text.count("2 of 3 prompts measured (1 unread; for example: mumbled)") == 1
    assert text.count("The ring is the model before training") == 1
    few = a_run(tmp_path / "few", {"x/a": HIGH}, {"x/a": LOW})
    small: Any = read_run(few)
    assert "at a glance" not in render(small)


def test_a_margin_must_be_excluded(tmp_path: Path) -> None:
    noisy = [0.0, 1.0] * 4
    path = a_run(tmp_path / "run", {"x/y": noisy}, {"x/y": noisy[::-1]})
    (by_chance,) = checks(path, no_worse=["x/y"])
    (unsure,) = checks(path, no_worse=["x/y"], margin=0.1)
    (wide,) = checks(path, no_worse=["x/y"], margin=2.0)
    assert (by_chance.passed, unsure.passed, wide.passed) == (True, False, True)


def test_it_may_be_compared_with_another_run(shipped: Path, tmp_path: Path) -> None:
    other = a_run(tmp_path / "other", {"judged/greedy": [1.0] * 20})
    (check,) = checks(shipped, no_worse=["judged"], against=other)
    assert not check.passed
    assert str(other) in check.condition


def test_one_prompt_proves_nothing(tmp_path: Path) -> None:
    path = a_run(tmp_path / "run", {"x/y": [1.0]}, {"x/y": [1.0]})
    (worse,) = checks(path, no_worse=["x/y"])
    (low,) = checks(path, require=["x/y.low >= 0"])
    assert (worse.passed, low.passed) == (False, False)
    assert "no interval" in worse.reason


def test_prompts_without_a_score_are_named(tmp_path: Path) -> None:
    part = Score.mean({"a": 1.0, "b": 1.0}, {"c": Missing("unread", "no score")})
    path = a_run(tmp_path / "run", {}, more={"x/y": part})
    (check,) = checks(path, require=["x/y >= 1"])
    assert check.passed
    assert "2 of 3 prompts measured (1 unread" in check.reason


def test_a_comparison_says_over_how_many_of_all_it_is(tmp_path: Path) -> None:
    path = a_run(tmp_path / "run", {"x/y": HIGH[:12]}, {"x/y": HIGH})
    (check,) = checks(path, no_worse=["x/y"])
    assert check.reason.endswith("over 12 of 20 prompts")


def test_the_command_exits_with_1_and_a_line_for_each_reason(shipped: Path) -> None:
    line = ("gate", shipped, "--require", "win_rate/lc >= 50", "--no-worse", "checks")
    done = run(*line)
    assert done.exit_code == 1
    assert [one.split()[0] for one in done.stdout.splitlines()] == ["passed", "failed", "passed"]
    found = json.loads(run(*line, "--json").stdout)
    assert (found["passed"], len(found["checks"])) == (False, 3)
    assert run(*line[:4]).exit_code == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--require", "win_rate/lcc >= 50"), "Did you mean 'win_rate/lc'"),
        (("--require", "win_rate/lc"), "expected SCORE >= NUMBER"),
        (("--require", "win_rate/lc >= 5-0"), "expected SCORE >= NUMBER"),
        (("--no-worse", "verifiable"), "no score is called 'verifiable'"),
        (("--no-worse", "win_rate/lc"), "no score is called 'win_rate/lc'"),
        ((), "no condition"),
        (("--no-worse", "checks", "--margin", "nan"), "must be a finite number"),
    ],
)
def test_a_gate_that_cannot_be_asked_is_one_line(
    shipped: Path, line: tuple[Any, ...], said: str
) -> None:
    done = run("gate", shipped, *line)
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_a_run_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="has no scores"):
        checks(a_run(tmp_path / "run", {}), require=["a >= 1"])
    with pytest.raises(CptError, match="no run"):
        checks(tmp_path / "nothing", require=["a >= 1"])


def test_many_runs_have_rows_so_that_a_terminal_has_room(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / f"run{place}", {"x/y": HIGH}) for place in range(14)]
    done = run("report", *runs, "--page", tmp_path / "page.html")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert ["run0", "0.825", "±", "0.037"] in rows
    assert ["run13", "0.825", "±", "0.037", "+0.000", "±", "0.000"] in rows


def test_a_training_that_goes_on_has_no_scores_yet(tmp_path: Path) -> None:
    one, other = (a_run(tmp_path / name, {"x/y": HIGH}) for name in "ab")
    Folder(other).begin("model", {"options": {}})
    with pytest.raises(BadData, match="its training is not done"):
        compare([one, other])
    with pytest.raises(BadData, match="its training is not done"):
        checks(other, require=["x/y > 0"])


def test_many_scores_have_rows_so_that_a_terminal_has_room(tmp_path: Path) -> None:
    values = {f"win_rate/{name}": HIGH for name in ("raw", "discrete", "ties", "length_only")}
    folder = a_run(tmp_path / "run", values, {name: LOW for name in values})
    lines = run("report", folder).stdout.splitlines()
    place = next(place for place, line in enumerate(lines) if "win_rate/raw" in line)
    assert "0.200 ± " in lines[place] and "0.825 ± " in lines[place]
    assert lines[place + 1].split()[:2] == ["change", "+0.625"]
