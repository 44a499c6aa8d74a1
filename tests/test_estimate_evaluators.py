"""What evaluators would ask is counted before there is a model to measure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from . import tiny

PLUGIN = '''
"""An evaluator that has nothing for a dry run."""

import attrs
import cpt


@attrs.frozen
class Secret(cpt.Evaluator):
    """Asks who knows what."""

    name = "secret"

    async def evaluate(self, model, prompts, ask):
        raise AssertionError("it is not called to count")


@cpt.hookimpl
def cpt_evaluators():
    return [Secret]
'''
PAIRWISE = "win_rate --evaluators.judge pairwise --evaluators.judge.responder openai:gpt-4.1"
MODEL = "--pairs pairs.jsonl --model base --generator transformers --generator.max-tokens 4"
HELD_OUT = "--eval-prompts held_out.jsonl --output run --dry-run --json"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model, pairs and prompts."""
    tiny.folder(tmp_path / "base")
    (tmp_path / "secret.py").write_text(PLUGIN)
    pairs = [{"prompt": f"q {row}", "chosen": "abcd" * 3, "rejected": "eee"} for row in range(8)]
    _write(tmp_path / "pairs.jsonl", pairs)
    _write(tmp_path / "held_out.jsonl", [{"prompt": f"h {row}"} for row in range(5)])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _write(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def told(cpt_cli: Any, line: str) -> Any:
    done = cpt_cli(*line.split())
    assert done.exit_code == 0, done.output
    assert not Path("run").exists()
    return json.loads(done.stdout)


def requests(estimates: Any) -> dict[str, int]:
    return {name.partition(":")[0]: one["requests"] for name, one in estimates.items()}


@pytest.mark.parametrize("command", ["run", "eval"])
def test_both_orders_of_the_trained_model_and_none_of_the_base_with_itself(
    cpt_cli: Any, command: str
) -> None:
    found = told(cpt_cli, f"{command} {MODEL} --evaluators {PAIRWISE} {HELD_OUT}")
    assert requests(found["estimates"]) == {"transformers": 2 * 5, "openai": 2 * 5}
    assert found["estimates"]["openai:gpt-4.1"]["dollars"] > 0
    assert found["not_counted"] == []


@pytest.mark.parametrize(
    ("evaluator", "answers", "judgements"),
    [
        ("judged --evaluators.judge llm --evaluators.judge.responder openai:gpt-4.1", 20, 20),
        (f"{PAIRWISE} --evaluators.judge.grades 5 --evaluators.judge.tries 3", 10, 10),
        ("win_rate --evaluators.judge llm --evaluators.judge.responder openai:gpt-4.1", 10, 10),
        ("health", 10, 0),
        ("preference_accuracy --eval-pairs pairs.jsonl", 0, 0),
    ],
)
def test_every_evaluator_that_only_asks_is_counted(
    cpt_cli: Any, evaluator: str, answers: int, judgements: int
) -> None:
    found = requests(
        told(cpt_cli, f"eval {MODEL} --evaluators {evaluator} {HELD_OUT}")["estimates"]
    )
    assert (found.get("transformers", 0), found.get("openai", 0)) == (answers, judgements)


def test_a_training_is_counted_at_every_measurement(cpt_cli: Any) -> None:
    asked = PAIRWISE.replace("evaluators", "train.evaluators")
    line = f"{MODEL} --train.batch-size 2 --train.epochs 2 --holdout 0"
    line += f" --train.evaluators {asked} --train.evaluators-limit 3 {HELD_OUT}"
    for every, times in ((3, 3), (4, 2), (100, 1)):  # of 8 steps, the last one always
        found = told(cpt_cli, f"train {line} --train.evaluators-every {every}")["measuring"]
        # The base answers once: what it said is in the journal at the next measurement.
        assert requests(found["estimates"]) == {
            "transformers": 3 * (times + 1),
            "openai": 6 * times,
        }
    whole = told(cpt_cli, f"run {line} --train.evaluators-every 3")
    assert requests(whole["estimates"]) == {"transformers": 12, "openai": 18}


def test_what_nobody_can_know_is_named(cpt_cli: Any) -> None:
    line = f"-p secret.py eval {MODEL} --evaluators secret {HELD_OUT}"
    found = told(cpt_cli, line)
    assert (found["estimates"], found["not_counted"]) == ({}, ["secret"])
    said = cpt_cli(*line.replace(" --json", "").split()).output
    assert "not counted  secret" in said
