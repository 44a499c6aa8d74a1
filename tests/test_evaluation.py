"""Evaluation: a score says over how many of how many prompts, and nothing is lost or mixed."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cpt
from cpt.files import json_text
from cpt.report.formatting import with_interval
from cpt.run.results.scores import changes, measured, read_scores, write_scores
from cpt.run.stages.evaluation import measure
from cpt.testing import FakeAsk, Scripted, fake_prompts

from . import tiny
from .commands import Commands

GRADER = '''
"""A service that grades as a file says: a text, or what goes wrong."""

import json
from pathlib import Path

import attrs
import cpt


@attrs.frozen
class Grader(cpt.Service):
    """Grades by the file `grades.json`."""

    name = "grader"
    model: str = "grader"
    """Its only model."""
    max_tokens: int = 1_000_000
    """Most tokens of an answer."""

    @property
    def endpoint(self):
        return "http://dear.example/v1"

    async def answer(self, prompt, sample):
        with open("asked.log", "a") as log:
            log.write(prompt.id + " ")
        said = json.loads(Path("grades.json").read_text()).get(prompt.id, "Score: 5")
        if said == "down":
            raise cpt.Unreachable("503 Service Unavailable")
        if said == "rejected":
            raise cpt.Rejected("400 too long")
        usage = cpt.Usage(output_tokens=1_000_000)
        return cpt.Response(prompt_id=prompt.id, text=said, author=self.model, usage=usage)


@cpt.hookimpl
def cpt_responders():
    return [Grader]
'''
PRICES = "dear.example: {grader: {date: 2026-01-01, input: 0, output: 1}}\n"
PROMPTS = [f"p{number}" for number in range(4)]


@pytest.fixture(scope="module")
def trained(commands: Commands, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a model, and what is needed to measure it."""
    folder = tmp_path_factory.mktemp("trained")
    tiny.folder(folder / "base", initializer_range=0.3)
    (folder / "grader.py").write_text(GRADER)
    (folder / "prices.yaml").write_text(PRICES)
    (folder / "grades.json").write_text("{}")
    pairs = [{"prompt": f"q {row}", "chosen": "ab", "rejected": "cd"} for row in range(4)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    rows = [{"id": name, "prompt": f"question {name}"} for name in PROMPTS]
    (folder / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = "train --pairs pairs.jsonl --model base --train.batch-size 4 --output run"
    done = commands.one(*line.split(), cwd=folder)
    assert done.status == 0, done.err
    return folder


Evaluate = Callable[..., Any]
LINE = (
    "-p grader.py eval --output run --eval-prompts held_out.jsonl --generator.max-tokens 4 "
    "--evaluators judged --evaluators.judge llm --evaluators.judge.responder grader "
    "--evaluators.judge.responder.attempts 1 --evaluators.temperatures 1 --prices prices.yaml"
)


@pytest.fixture
def evaluate(trained: Path, tmp_path: Path, cpt_cli: Any) -> Evaluate:
    """`cpt eval` in a copy of the run, with a judge that says this."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)

    def run(grades: dict[str, str], *more: str) -> Any:
        (tmp_path / "grades.json").write_text(json.dumps(grades))
        return cpt_cli(*LINE.split(), *more)

    return run


def strict(text: str) -> Any:
    """JSON as other readers take it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def evaluation_of(prompts: Any) -> cpt.Evaluation:
    return cpt.Evaluation(model=Scripted(), base=Scripted(), prompts=prompts)


NAME = "judged/T=1"


def test_what_was_not_judged_is_named_and_asked_again(evaluate: Evaluate, tmp_path: Path) -> None:
    first = evaluate({"p0": "down", "p1": "No idea.", "p2": "rejected"})
    assert first.exit_code == 0, first.output
    plain = strict((tmp_path / "run/scores.json").read_text())
    for model in ("before", "after"):
        score = plain["scores"][model][NAME]
        assert (score["n"], score["of"], score["each"]) == (1, 4, {"p3": 5.0})
        assert {name: why["reason"] for name, why in score["missing"].items()} == {
            "p0": "failed",
            "p1": "unread",
            "p2": "rejected",
        }
        assert score["missing"]["p1"]["raw"] == "No idea."
        assert (score["low"], score["high"]) == (None, None)
        assert f"{model} {NAME}: 1 of 4 prompts measured (1 failed, 1 unread, 1 rejected; " in (
            first.stdout
        )
    assert "5.000 (no interval) (1 of 4 prompts)" in first.stdout
    assert "asked again by the same command" in first.stdout
    page = (tmp_path / "run/report.html").read_text()
    assert "1 of 4 prompts measured (1 failed, 1 unread, 1 rejected" in page

    asked = (tmp_path / "asked.log").read_text().split()
    second = evaluate({})
    assert second.exit_code == 0, second.output
    again = (tmp_path / "asked.log").read_text().split()[len(asked) :]
    assert {*again} == {"p0"}, "final judgements were asked again, or the failed one was not"
    score = read_scores(tmp_path / "run/scores.json")["after"][NAME]
    assert (score.n, score.of) == (2, 4)
    assert "asked again" not in second.stdout

    assert evaluate({}).exit_code == 0
    assert (tmp_path / "asked.log").read_text().split() == [*asked, *again]


def test_what_was_rejected_is_asked_again_once_if_that_is_asked_for(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    first = evaluate({"p2": "rejected"})
    assert "rejected 2)" in first.stdout, first.output
    asked = len((tmp_path / "asked.log").read_text().split())
    other = evaluate({}, "--asking.again", "filtered")
    assert len((tmp_path / "asked.log").read_text().split()) == asked, other.output
    again = evaluate({}, "--asking.again", "rejected")
    assert {*(tmp_path / "asked.log").read_text().split()[asked:]} == {"p2"}, again.output
    assert read_scores(tmp_path / "run/scores.json")["after"][NAME].n == 4
    assert "rejected" not in again.stdout
    asked = len((tmp_path / "asked.log").read_text().split())
    evaluate({})
    assert len((tmp_path / "asked.log").read_text().split()) == asked


def test_an_unread_judgement_is_asked_again_if_that_is_asked_for(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    evaluate({"p1": "No idea."})
    other = evaluate({}, "--evaluators.judge.tries", "2", "--redo")
    assert other.exit_code == 0, other.output
    assert read_scores(tmp_path / "run/scores.json")["after"][NAME].n == 4


@pytest.mark.parametrize("budget", ["0.5", "3.5"])
def test_a_used_up_budget_is_status_1_and_a_larger_one_goes_on(
    evaluate: Evaluate, tmp_path: Path, budget: str
) -> None:
    short = evaluate({}, "--budget", budget)
    assert short.exit_code == 1, short.output
    (said,) = (line for line in short.stderr.splitlines() if line.startswith("cpt: run"))
    assert said.startswith("cpt: run: the budget is used up and ")
    assert said.endswith("the same command with a larger --budget continues.")
    assert not (tmp_path / "run/scores.json").exists()
    asked = (tmp_path / "asked.log").read_text().split() if budget == "3.5" else []
    enough = evaluate({}, "--budget", "50")
    assert enough.exit_code == 0, enough.output
    assert len((tmp_path / "asked.log").read_text().split()) <= 8
    assert len(asked) == int(float(budget))
    for named in read_scores(tmp_path / "run/scores.json").values():
        assert (named[NAME].n, named[NAME].of) == (4, 4)


def test_a_judge_that_reads_nothing_is_one_line(evaluate: Evaluate) -> None:
    failed = evaluate(dict.fromkeys(PROMPTS, "No idea."))
    assert failed.exit_code == 2
    assert "scored none of the 4 answers of base (4 unread; for example: no score from 1 to 10" in (
        failed.stderr
    )


def test_json_on_the_command_line_is_json(evaluate: Evaluate) -> None:
    printed = evaluate({"p0": "rejected", "p1": "rejected", "p2": "rejected"}, "--json")
    score = strict(printed.stdout)["scores"]["after"][NAME]
    assert score == {
        **{"value": 5.0, "low": None, "high": None, "n": 1, "of": 4},
        "missing": {"rejected": 3},
    }


def test_a_template_that_refuses_one_prompt_costs_that_prompt(
    evaluate: Evaluate, tmp_path: Path
) -> None:
    """After a training too, the rest is measured."""
    for model in (tmp_path / "base", tmp_path / "run/model"):
        template = model / "chat_template.jinja"
        refuses = "{% if 'p2' in messages[-1]['content'] %}{{ raise_exception('not this') }}"
        template.write_text(refuses + "{% endif %}" + template.read_text())
    result = evaluate({}, "--redo")
    assert result.exit_code == 0, result.output
    score = read_scores(tmp_path / "run/scores.json")["before"][NAME]
    assert (score.n, score.of, score.missing["p2"].reason) == (3, 4, "rejected")
    assert score.missing["p2"].detail == "base: the chat template refuses it (not this)"


def mean(values: dict[str, float], *missing: str) -> cpt.Score:
    return cpt.Score.mean(values, {name: cpt.Missing("unread") for name in missing})


def test_a_change_is_taken_over_shared_prompts() -> None:
    before = mean({"a": 1.0, "b": 2.0, "c": 9.0}, "d")
    after = mean({"a": 2.0, "b": 4.0, "d": 1.0}, "c")
    change = changes({"x": before}, {"x": after})["x"]
    assert change.each == {"a": 1.0, "b": 2.0}
    assert (change.value, change.n, change.of) == (1.5, 2, 4)
    assert with_interval(change, 1, sign=True).endswith("(2 of 4 prompts)")
    assert not changes({"x": mean({"a": 1.0})}, {"x": mean({"b": 1.0})})


def test_a_change_knows_prompts_that_one_side_never_heard_of() -> None:
    change = changes({"x": mean({"a": 1.0, "b": 1.0})}, {"x": mean({"b": 3.0, "c": 1.0})})["x"]
    assert {name: why.reason for name, why in change.missing.items()} == {
        "a": "unpaired",
        "c": "unpaired",
    }


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    scores = {"before": {"x": mean({"a": 1.0}, "b")}, "after": {"x": mean({"a": 2.0, "b": 3.0})}}
    write_scores(tmp_path / "scores.json", scores)
    strict((tmp_path / "scores.json").read_text())
    assert read_scores(tmp_path / "scores.json") == scores
    assert read_scores(tmp_path / "scores.json")["before"]["x"].high == math.inf


async def test_what_an_evaluator_leaves_out_is_missing() -> None:
    class Some(cpt.Evaluator):
        name = "some"

        async def evaluate(self, model: Any, prompts: Any, ask: Any) -> dict[str, cpt.Score]:
            return {"one": mean({"p0": 1.0}, "p1"), "none": cpt.Score(value=1, low=0, high=2)}

    found = await measure([Some()], evaluation_of(fake_prompts(3)), FakeAsk())
    reasons = {name: why.reason for name, why in found["some/one"].missing.items()}
    assert reasons == {"p1": "unread", "p2": "not_measured"}
    assert measured(found["some/one"]) == (
        "1 of 3 prompts measured (1 unread, 1 not_measured; for example: the evaluator left it out)"
    )
    assert found["some/none"].of == 0


def test_a_prompt_is_measured_or_missing() -> None:
    with pytest.raises(cpt.WrongReturn, match="prompt 'a' has a value and is missing, too"):
        mean({"a": 1.0}, "a")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_number_is_null_in_json(value: float) -> None:
    assert strict(json_text({"a": [value, {"b": (value, 1)}], "c": "NaN"})) == {
        "a": [None, {"b": [None, 1]}],
        "c": "NaN",
    }
