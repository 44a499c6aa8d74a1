"""Rounds: each answers, trains and is measured with the model of the one before."""

import json
from pathlib import Path

import pytest
import yaml

import cpt

from . import tiny

PLUGIN = '''
"""A student whose answers change with its weights, and a judge that likes long ones."""

import hashlib

import attrs
import cpt


@attrs.frozen
class Weights(cpt.Local):
    """Says a digest of its weights."""

    name = "weights"
    model: str = attrs.field(metadata=cpt.PATH)
    """Its folder."""
    temperature: float = 1.0
    """Changes nothing."""

    def answer_all(self, requests):
        return [
            cpt.Response(prompt_id=prompt.id, text=self._text(prompt, sample), author=self.model)
            for prompt, sample in requests
        ]

    def _text(self, prompt, sample):
        weights = (cpt.models.folder_of(self.model) / "model.safetensors").read_bytes()
        said = hashlib.sha256(weights + f"{prompt.text}{sample}".encode()).hexdigest()
        return said[: 3 + int(said, 16) % 9]


class Long(cpt.Judge):
    """Counts letters."""

    name = "long"

    async def judge(self, prompt, responses, ask):
        return cpt.Verdict(scores=tuple(float(len(response.text)) for response in responses))


@cpt.hookimpl
def cpt_judges():
    return [Long]


@cpt.hookimpl
def cpt_responders():
    return [Weights]
'''
STUDENT = {"name": "weights", "model": "student"}


@pytest.fixture
def line(tmp_path: Path) -> list[str]:
    """A command that does three rounds over nine prompts with a model of random weights."""
    tiny.folder(tmp_path / "student")
    (tmp_path / "long.py").write_text(PLUGIN)
    rows = ({"id": f"p{row}", "prompt": f"question {row}"} for row in range(9))
    (tmp_path / "prompts.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    config = {
        "prompts": "prompts.jsonl",
        "model": "student",
        "pairer": {"name": "rlaif", "responder": STUDENT, "judge": "long", "samples": 4},
        "loss": "dpo",
        "train": {**tiny.OPTIONS, "batch_size": 4},
        "eval_prompts": "prompts.jsonl",
        "eval_limit": 3,
        "generator": {**STUDENT, "model": "filled in"},
        "evaluators": [{"name": "judged", "judge": "long"}],
        "controls": {"cold": {"temperature": 0.5}},
    }
    (tmp_path / "rounds.yaml").write_text(yaml.safe_dump(config))
    return ["-p", "long.py", "--config", "rounds.yaml", "--output", "run", "--rounds", "3"]


def options(folder: Path) -> dict:
    return yaml.safe_load((folder / "run.yaml").read_text())["options"]


def test_each_round_speaks_and_trains_with_the_model_before(cpt_cli, tmp_path, line):
    done = cpt_cli(*line)
    assert done.exit_code == 0, done.output
    assert "round 2: pairs done" in done.stderr
    rounds = [tmp_path / "run" / "rounds" / str(number) for number in (1, 2, 3)]
    first, second, third = map(options, rounds)
    assert (first["model"], first["pairer"]["responder"]["model"]) == ("student", "student")
    before = str(Path("run", "rounds", "1", "model"))
    assert (second["model"], second["pairer"]["responder"]["model"]) == (before, before)
    assert third["model"] == str(Path("run", "rounds", "2", "model"))
    assert second["controls"] == {} and second["rounds"] == 1
    assert second["train"]["reference"] is None
    answers = [{pair.chosen.text for pair in cpt.open_run(folder).pairs} for folder in rounds]
    assert answers[0] != answers[1]
    assert all((folder / "report.html").exists() for folder in rounds)
    scores = cpt.open_run(tmp_path / "run").scores
    assert list(scores) == ["before", "round_1", "round_2", "after", "cold"]
    assert scores["round_1"] == cpt.open_run(rounds[0]).scores["after"]
    assert scores["after"] == cpt.open_run(rounds[2]).scores["after"]


def test_a_round_goes_on_where_it_stopped_and_another_can_follow(cpt_cli, tmp_path, line):
    assert cpt_cli(*line[:-1], "2").exit_code == 0
    weights = tmp_path / "run" / "rounds" / "1" / "model" / "model.safetensors"
    made = weights.stat().st_mtime_ns
    assert cpt_cli(*line[:-1], "2").exit_code == 0
    refused = cpt_cli(*line)
    assert refused.exit_code == 2 and "rounds 2, not 3" in refused.stderr
    assert cpt_cli(*line, "--redo").exit_code == 0
    assert weights.stat().st_mtime_ns == made
    assert (tmp_path / "run" / "rounds" / "3" / "model").is_dir()


def test_the_reference_may_stay_and_the_prompts_may_be_shared_out(cpt_cli, tmp_path, line):
    more = ("--round-reference", "fixed", "--round-prompts", "parts")
    done = cpt_cli(*line, *more)
    assert done.exit_code == 0, done.output
    rounds = [tmp_path / "run" / "rounds" / str(number) for number in (1, 2, 3)]
    assert [options(folder)["train"]["reference"] for folder in rounds] == [
        None,
        "student",
        "student",
    ]
    asked = [[prompt.id for prompt in cpt.open_run(folder).prompts] for folder in rounds]
    assert asked == [[f"p{row}" for row in range(start, 9, 3)] for start in range(3)]


def test_a_reference_that_is_given_is_that_of_the_first_round(cpt_cli, tmp_path, line):
    tiny.folder(tmp_path / "other", seed=3)
    more = ("--train.reference", "other")
    for output, kept, later in (("a", "refreshed", None), ("b", "fixed", "other")):
        done = cpt_cli(*line[:-1], "2", *more, "--round-reference", kept, "--output", output)
        assert done.exit_code == 0, done.output
        rounds = [tmp_path / output / "rounds" / str(number) for number in (1, 2)]
        assert [options(folder)["train"]["reference"] for folder in rounds] == ["other", later]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (("--pairer.responder.model", "other"), "no responder of the pairer 'rlaif' answers with"),
        (("--pairs", "pairs.jsonl"), "leave out --pairs"),
        (("--rounds", "0"), "rounds: must be"),
    ],
)
def test_rounds_that_make_no_sense_are_one_line(cpt_cli, tmp_path, line, more, why):
    tiny.folder(tmp_path / "other", seed=3)
    row = {"prompt": "Why?", "chosen": "Because.", "rejected": "No."}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    refused = cpt_cli(*line, *more)
    assert refused.exit_code == 2, refused.output
    assert why in refused.stderr and len(refused.stderr.splitlines()) == 1
    assert not (tmp_path / "run" / "rounds").exists()
