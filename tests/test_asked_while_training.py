"""A training is measured with evaluators as it goes: its own model answers held-out prompts."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import cpt
from cpt.likelihood import Reading, log_probabilities
from cpt.report.figures import training_figures
from cpt.report.read.curves import read_curves
from cpt.training.loss.metrics import TIMING
from cpt.training.options import Training

from . import tiny
from .training_process import Trainings

PLUGIN = '''
"""Counts what an answer has of a letter; logs who was asked."""

from pathlib import Path

import attrs
import cpt


@attrs.frozen
class Letters(cpt.Evaluator):
    """The share of a letter in greedy answers."""

    name = "letters"
    lower_is_better = ("share",)
    letter: str = "a"
    """What is counted."""

    async def evaluate(self, model, prompts, ask):
        if Path("break").exists() and self.seen():
            raise cpt.CptError("broken off")
        said = [(await ask(model.with_options(temperature=0.0), prompt)) for prompt in prompts]
        each = {
            one.prompt_id: one.text.count(self.letter) / max(len(one.text), 1) for one in said
        }
        return {"share": cpt.Score.mean(each)}

    def seen(self):
        """Whether it was here before."""
        before = Path("break").read_text()
        Path("break").write_text("again")
        return before == "again"


@cpt.hookimpl
def cpt_evaluators():
    return [Letters]
'''
LINE = (
    "-p letters.py train --pairs pairs.jsonl --model base --train.batch-size 4 --train.epochs 2 "
    "--train.learning-rate 3e-3 --train.log-every 1 --train.checkpoint-every 1 --holdout 0"
)
ASKED = (
    "--train.evaluators letters --train.evaluators.letter e --train.evaluators-every 2 "
    "--eval-prompts held_out.jsonl --generator transformers --generator.max-tokens 8"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to train in."""
    tiny.folder(tmp_path / "base", initializer_range=0.3)
    (tmp_path / "letters.py").write_text(PLUGIN)
    pairs = [{"prompt": f"q {row}", "chosen": "abcd" * 3, "rejected": "eee"} for row in range(10)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    rows = [{"id": f"p{row}", "prompt": f"question {row}"} for row in range(3)]
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))
    return tmp_path


def timeless(lines: Sequence[dict[str, Any]], *, asked: bool = True) -> list[dict[str, Any]]:
    return [
        {
            name: value
            for name, value in line.items()
            if name not in TIMING and (asked or not name.startswith("eval/"))
        }
        for line in lines
    ]


def same_weights(one: Path, other: Path) -> bool:
    ours, theirs = (load_file(path / "model/model.safetensors") for path in (one, other))
    return all(torch.equal(weight, theirs[name]) for name, weight in ours.items())


@pytest.mark.parametrize("options", [{}, {"lora_rank": 2}], ids=str)
def test_it_learns_the_same_and_what_is_asked_is_the_model_of_the_step(
    folder: Path, options: dict[str, Any]
) -> None:
    """Whoever measures may draw random numbers, and compute as a training does."""
    seen: dict[int, Any] = {}
    pairs, held_out = tiny.pairs(12), tiny.pairs(3, seed=9)

    def evaluate(now: Path) -> dict[str, float]:
        torch.rand(3), np.random.rand(), random.random()
        found: Any = log_probabilities(held_out, now, Reading(device="cpu"))
        seen[len(seen)] = found
        return {"anything/chosen": sum(one.chosen for one in found.values())}

    asked = {"evaluators": (tiny.Anything(),), "evaluators_every": 2, "evaluate": evaluate}
    lines = tiny.train(folder / "run", folder / "base", pairs, epochs=2, **asked, **options)
    alone = tiny.train(folder / "alone", folder / "base", pairs, epochs=2, **options)
    assert timeless(lines, asked=False) == timeless(alone)
    assert same_weights(folder / "run", folder / "alone")
    assert [line["step"] for line in lines if "eval/anything/chosen" in line] == [2, 4]
    after = log_probabilities(held_out, folder / "run/model", Reading(device="cpu"))
    assert seen[1] == after != seen[0]
    assert not (folder / "run/now").exists()


@pytest.mark.parametrize("sharded", [False, True], ids=["whole", "sharded"])
def test_several_processes_wait_for_the_one_that_measures(
    folder: Path, trainings: Trainings, sharded: bool
) -> None:
    """It computes alone, of all weights, and all of them log what it found."""
    asked = {"processes": 2, "epochs": 1, "batch_size": 8, "sharded": sharded}
    base = folder / "base"
    assert trainings(base, folder / "alone", **asked) == [0, 0]
    assert trainings(base, folder / "run", evaluators_every=2, **asked) == [0, 0]
    lines = tiny.read(folder / "run")
    assert [line["step"] for line in lines if "eval/anything/chosen" in line] == [2, 4]
    assert timeless(lines, asked=False) == timeless(tiny.read(folder / "alone"))
    assert same_weights(folder / "run", folder / "alone")
    last = tiny.chosen_logps(folder / "run/model")["anything/chosen"]
    assert lines[-1]["eval/anything/chosen"] == last


def test_a_training_that_broke_off_while_asking_goes_on_as_if_it_had_not(
    folder: Path, cpt_cli: Any
) -> None:
    best = ["--train.keep-best", "eval/letters/share"]
    whole = cpt_cli(*LINE.split(), *ASKED.split(), *best, "--output", "whole")
    assert whole.exit_code == 0, whole.output
    (folder / "break").write_text("first")
    broken = cpt_cli(*LINE.split(), *ASKED.split(), *best, "--output", "run")
    assert broken.exit_code != 0 and "broken off" in broken.output
    (folder / "break").unlink()
    assert cpt_cli(*LINE.split(), *ASKED.split(), *best, "--output", "run").exit_code == 0
    lines = tiny.read(folder / "run")
    assert timeless(lines) == timeless(tiny.read(folder / "whole"))
    assert same_weights(folder / "run", folder / "whole")
    shares = {line["step"]: line.get("eval/letters/share") for line in lines}
    assert [step for step, share in shares.items() if share is not None] == [2, 4, 6]
    summary = json.loads((folder / "run/training.json").read_text())
    value, step = min((share, step) for step, share in shares.items() if share is not None)
    assert summary["best"] == {"step": step, "metric": best[1], "value": value}

    curves = read_curves(folder / "run")
    assert curves is not None and curves.asked == ("eval/letters/share",)
    assert "letters/share on held-out data, measured as the model was trained." in [
        figure.caption for figure in training_figures(curves)
    ]

    measured = "-p letters.py eval --output run --evaluators letters --evaluators.letter e"
    assert cpt_cli(*measured.split()).exit_code == 0
    after = cpt.open_run(folder / "run").scores["after"]["letters/share"]
    assert after.value == pytest.approx(value, abs=1e-9)
    # What the model was asked as it was trained binds nobody afterwards.
    again = cpt_cli(*measured.split(), "--redo", "--generator.max-tokens", "4", "--eval-limit", "2")
    assert again.exit_code == 0, again.output


def test_a_budget_holds_while_training_too(folder: Path, cpt_cli: Any) -> None:
    asked = (
        "-p tests.plugins.dear --train.evaluators judged --train.evaluators.judge llm "
        "--train.evaluators.judge.responder dear --train.evaluators.temperatures 0 "
        "--train.evaluators-every 2 --eval-prompts held_out.jsonl --generator transformers "
        "--generator.max-tokens 4"
    )
    line = [*asked.split()[:2], *LINE.split(), *asked.split()[2:], "--output", "run"]
    (folder / "prices.yaml").write_text(
        "dear.example: {dear: {date: 2026-01-01, input: 0, output: 1}}"
    )
    stopped = cpt_cli(*line, "--prices", "prices.yaml", "--budget", "0.5")
    assert stopped.exit_code == 1, stopped.output
    assert "requests were not sent" in stopped.output
    assert not (folder / "run/model").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"evaluators": (1,)}, "must have evaluators_every"),
        ({"evaluators_every": 2}, "must have evaluators beside it"),
        ({"keep_best": "eval/win_rate/raw"}, "or be a score of train.evaluators"),
    ],
)
def test_options_that_do_not_fit_are_one_line(options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Training(**options)


def test_a_generator_that_cannot_run_the_model_is_refused_before_training(
    folder: Path, cpt_cli: Any
) -> None:
    asked = [
        "-p",
        "tests.plugins.dear",
        *LINE.split(),
        *ASKED.replace("transformers", "dear").split(),
    ]
    refused = cpt_cli(*asked, "--output", "run")
    assert refused.exit_code == 2
    assert "--generator must run it here" in refused.output
    assert not (folder / "run").exists()
