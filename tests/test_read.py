"""`cpt.open_run`: what a run made, as records, and one line for what is not there."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import cpt
from cpt.errors import BadData
from cpt.run.results.read import Records

from . import tiny

ROWS = [{"id": str(n), "prompt": f"q {n}", "responses": {"a": f"a{n}", "b": "b"}} for n in range(4)]


@pytest.fixture
def run(cpt_cli, tmp_path):
    """A run that is trained, of four prompts of which one gives no pair."""
    rows = [*ROWS, {"id": "4", "prompt": "q 4", "responses": {"a": "", "b": "b"}}]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tiny.folder(tmp_path / "base")
    line = "--prompts rows.jsonl --pairer ladder --pairer.rungs recorded:rows.jsonl#a"
    line += " --pairer.rungs recorded:rows.jsonl#b --model base --output run"
    result = cpt_cli(*line.split(), "--train.batch-size", "2", "--train.log-every", "1")
    assert result.exit_code == 0, result.stderr
    return cpt.open_run("run")


def test_everything_that_is_there(run):
    assert run.options["pairer"]["name"] == "ladder"
    assert {name: stage["state"] for name, stage in run.stages.items()} == dict.fromkeys(
        ("prompts", "pairs", "model", "controls", "scores"), "done"
    )
    assert run.stages["pairs"]["summary"]["pairs"] == 4
    assert [prompt.id for prompt in run.prompts] == list("01234")
    pairs = list(run.pairs)
    assert {type(pair) for pair in pairs} == {cpt.Pair}
    assert [pair.chosen.text for pair in pairs] == ["a0", "a1", "a2", "a3"]
    assert [outcome["outcome"] for outcome in run.outcomes] == [*["kept"] * 4, "empty"]
    assert [line["step"] for line in run.metrics] == [1, 2]
    assert sorted(row["pair"] for row in run.order) == sorted(pair.id for pair in pairs)
    assert list(run.pairs) == pairs, "a second loop reads from the beginning"


@pytest.mark.parametrize(
    ("name", "file", "command"),
    [
        ("responses", "responses.parquet", "cpt respond"),
        ("scores", "scores.json", "cpt eval"),
        ("prompts", "prompts.parquet", "cpt pair"),
        ("pairs", "pairs.parquet", "cpt pair"),
        ("outcomes", "outcomes.jsonl", "cpt pair"),
        ("metrics", "metrics.jsonl", "cpt train"),
        ("order", "order.parquet", "cpt train"),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path, name, file, command):
    (tmp_path / "run.yaml").write_text("options: {}\nstages: {}\n")
    with pytest.raises(BadData) as caught:
        list(getattr(cpt.open_run(tmp_path), name))
    assert caught.value.message == f"{tmp_path / file}: not there; `{command}` writes it."


@pytest.mark.parametrize(
    ("name", "file", "text", "complaint"),
    [
        ("pairs", "pairs.parquet", "nothing", "broken Parquet"),
        ("order", "order.parquet", "nothing", "broken Parquet"),
        ("outcomes", "outcomes.jsonl", "{}\n{\n{}\n", "line 2: not JSON"),
        ("metrics", "metrics.jsonl", "{\n", "line 1: not JSON"),
        ("scores", "scores.json", "{", "damaged"),
        (
            "scores",
            "scores.json",
            '{"scores": {"before": {"a/b": {"value": 1}}}}',
            "not the scores",
        ),
        (
            "scores",
            "scores.json",
            '{"scores": {"before": {"a/b": {"value": 3, "low": 0, "high": 1}}}}',
            "the value must be in its interval",
        ),
    ],
)
def test_what_is_damaged_is_one_line(tmp_path, name, file, text, complaint):
    (tmp_path / "run.yaml").write_text("options: {}\nstages: {}\n")
    (tmp_path / file).write_text(text)
    with pytest.raises(BadData) as caught:
        list(getattr(cpt.open_run(tmp_path), name))
    assert caught.value.message.startswith(str(tmp_path / file))
    assert complaint in caught.value.message
    assert "\n" not in caught.value.message


def test_scores_and_responses(tmp_path):
    (tmp_path / "run.yaml").write_text("options: {}\nstages: {}\n")
    score: dict[str, Any] = {"value": 0.5, "low": 0.25, "high": 0.75, "each": {"p": 0.5}}
    (tmp_path / "scores.json").write_text(json.dumps({"scores": {"after": {"j/g": score}}}))
    run = cpt.open_run(tmp_path)
    assert run.scores == {"after": {"j/g": cpt.Score(**score)}}


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(cpt.CptError, match="there is no run in this folder"):
        cpt.open_run(tmp_path)
    with pytest.raises(cpt.CptError, match="there is no run in this folder"):
        cpt.open_run(tmp_path / "none")


def test_pairs_and_prompts_of_any_file_or_run(run, tmp_path, monkeypatch):
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "q", "chosen": "yes", "rejected": "no"}\n')
    (pair,) = cpt.read_pairs("pairs.jsonl")
    assert (pair.prompt.text, pair.chosen.text, pair.rejected.text) == ("q", "yes", "no")
    assert cpt.read_pairs("run") == list(run.pairs)
    assert [prompt.text for prompt in cpt.read_prompts("rows.jsonl")][:2] == ["q 0", "q 1"]
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))
    assert next(iter(cpt.read_prompts("lab:tiny/dev"))).id == "dev-0"


def test_half_a_line_of_metrics_is_left_out(run):
    metrics = list(run.metrics)
    with Path("run/metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "lo')
    assert list(run.metrics) == metrics


def test_records_are_read_one_at_a_time(run):
    taken = []

    def read(path):
        for number in range(3):
            taken.append(number)
            yield number

    assert next(iter(Records(Path("run/run.yaml"), read, ""))) == 0
    assert taken == [0]


def test_import_cpt_stays_light():
    code = "import cpt, sys; print({'cpt.data', 'cpt.run', 'yaml'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
