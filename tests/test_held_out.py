"""A training is measured on held-out pairs as it goes, and goes back to its best step."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cpt import CptError
from cpt.likelihood import Reading, log_probabilities
from cpt.training.loss.metrics import TIMING
from cpt.training.options import Training

from . import tiny
from .training_process import Trainings

PAIRS, HELD_OUT = tiny.pairs(12), tiny.pairs(5, seed=9)
WATCHED = {"epochs": 2, "batch_size": 5, "log_every": 4, "checkpoint_every": 3, "eval_every": 2}


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model") / "base")


def train(output: Path, model: Path, **asked: Any) -> Any:
    return tiny.train(output, model, PAIRS, held_out=HELD_OUT, **asked)


def learned(line: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in line.items()
        if name not in TIMING and not name.startswith("eval/")
    }


@pytest.mark.parametrize("loss", [tiny.Sigmoid(), tiny.Anchored(), tiny.Imitate(), tiny.Measured()])
def test_nothing_is_learned_from_what_is_measured_on(
    tmp_path: Path, model: Path, loss: Any
) -> None:
    lines = train(tmp_path / "watched", model, epochs=3, eval_every=2, loss=loss)
    alone = tiny.train(tmp_path / "alone", model, PAIRS, epochs=3, loss=loss)
    assert list(map(learned, lines)) == list(map(learned, alone))
    measured = [line["step"] for line in lines if "eval/loss" in line]
    assert measured == [2, 4, 6]
    one, other = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("watched", "alone")
    )
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


@pytest.mark.parametrize("options", [{}, {"lora_rank": 4}], ids=str)
def test_the_last_measurement_is_of_the_exported_model(
    tmp_path: Path, model: Path, options: dict[str, Any]
) -> None:
    last = train(tmp_path, model, epochs=2, eval_every=2, **options)[-1]
    reading = Reading(device="cpu")
    after = log_probabilities(HELD_OUT, tmp_path / "model", reading)
    before = log_probabilities(HELD_OUT, model, reading)
    for side in ("chosen", "rejected"):
        gaps = [getattr(after[p.id], side) - getattr(before[p.id], side) for p in HELD_OUT]
        mean = 0.1 * sum(gaps) / len(gaps)
        assert last[f"eval/rewards/{side}"] == pytest.approx(mean, abs=1e-4)


def test_the_best_step_is_exported(tmp_path: Path, model: Path) -> None:
    diverging = {"epochs": 4, "learning_rate": 0.05, "lr_schedule": "constant", "warmup": 0.0}
    lines = train(tmp_path / "best", model, eval_every=1, keep_best="eval/loss", **diverging)
    losses = [line["eval/loss"] for line in lines]
    best = losses.index(min(losses))
    assert best < len(losses) - 1, "this training should get worse"
    summary = json.loads((tmp_path / "best/training.json").read_text())
    assert summary["best"] == {"step": best + 1, "metric": "eval/loss", "value": losses[best]}
    assert summary["metrics"]["eval/loss"] == losses[best]
    found: Any = log_probabilities(HELD_OUT, tmp_path / "best/model", Reading(device="cpu"))
    mean = sum(found[pair.id].chosen for pair in HELD_OUT) / len(HELD_OUT)
    assert mean == pytest.approx(lines[best]["eval/logps/chosen"], rel=1e-4)
    assert not (tmp_path / "best/best").exists()

    stopped = train(
        tmp_path / "stopped", model, eval_every=1, keep_best="eval/loss", patience=2, **diverging
    )
    last = len(stopped)
    assert last < len(lines) and min(losses[last - 2 : last]) >= min(losses[: last - 2])
    assert json.loads((tmp_path / "stopped/training.json").read_text())["steps"] == last


def test_killed_and_taken_up_it_is_the_same(
    tmp_path: Path, model: Path, trainings: Trainings
) -> None:
    asked = {**WATCHED, "keep_best": "eval/rewards/margins"}
    assert trainings(model, tmp_path / "whole", **asked) == [0]
    die = [signal.SIGKILL, "cpt_step_ended", 7]
    assert trainings(model, tmp_path / "killed", die=die, **asked) == [-signal.SIGKILL]
    assert trainings(model, tmp_path / "killed", **asked) == [0]
    assert trainings(model, tmp_path / "two", processes=2, **asked) == [0, 0]
    whole, killed, two = (tiny.read(tmp_path / name) for name in ("whole", "killed", "two"))

    def timeless(lines: Any) -> Any:
        return [{name: line[name] for name in line if name not in TIMING} for line in lines]

    assert timeless(killed) == timeless(whole)
    for line, other in zip(whole, two, strict=True):
        for name in (name for name in line if name.startswith("eval/")):
            assert other[name] == pytest.approx(line[name], rel=1e-3, abs=1e-4)
    one, other = (
        load_file(tmp_path / name / "model/model.safetensors") for name in ("whole", "killed")
    )
    assert all(torch.equal(weight, other[name]) for name, weight in one.items())


def test_wrong_options_are_one_line(tmp_path: Path, model: Path) -> None:
    with pytest.raises(ValueError, match="must have eval_every"):
        Training(keep_best="eval/loss")
    with pytest.raises(ValueError, match="must begin with eval/, as in eval/loss"):
        Training(eval_every=1, keep_best="loss")
    with pytest.raises(ValueError, match="must have keep_best"):
        Training(eval_every=1, patience=1)
    with pytest.raises(CptError, match="there is no 'eval/los'; this training measures eval/logps"):
        train(tmp_path / "run", model, eval_every=1, keep_best="eval/los")
    same = [tiny.pair("a", "b", "b", id="x")]
    with pytest.raises(CptError, match=r"The held-out pairs: None of the 1 pairs"):
        tiny.train(tmp_path / "none", model, PAIRS, held_out=same, eval_every=1)


def test_the_report_says_what_the_held_out_pairs_say(tmp_path: Path, model: Path) -> None:
    from cpt.report.figures import training_figures
    from cpt.report.read.curves import read_curves
    from cpt.report.sentences import about_training

    diverging = {"epochs": 4, "learning_rate": 0.05, "lr_schedule": "constant", "warmup": 0.0}
    train(tmp_path, model, eval_every=1, **diverging)
    curves = read_curves(tmp_path)
    assert curves is not None
    said = about_training(curves)
    assert "of the held-out pairs, and in" in said
    assert "--train.keep-best eval/loss exports the model of such a step." in said
    captions = [figure.caption for figure in training_figures(curves)]
    assert not any("logged by the loss" in caption for caption in captions)
    assert sum("held out" in figure.svg for figure in training_figures(curves)) >= 4
