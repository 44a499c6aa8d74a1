"""Trackers: one continuous curve of a run in TensorBoard, and nothing anywhere unasked."""

from __future__ import annotations

import json
import logging
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs
import pytest

from cpt import CptError, Score
from cpt.data import write_pairs
from cpt.roles import Observer
from cpt.testing import ObserverContract
from cpt_trackers import tracker, trackers
from cpt_trackers.tracker import Tracked, Tracker
from cpt_trackers.trackers import Mlflow, TensorBoard, Trackio, Wandb

from . import tiny
from .test_secrets import KEY, places_with_the_key


class TestTensorBoard(ObserverContract):
    component = TensorBoard()


class TestWandb(ObserverContract):
    component = Wandb()


class TestTrackio(ObserverContract):
    component = Trackio()


class TestMlflow(ObserverContract):
    component = Mlflow()


def curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves as TensorBoard shows them: step and value, by name."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    shown = EventAccumulator(str(run / "tensorboard"))
    shown.Reload()
    return {
        name: [(event.step, event.value) for event in shown.Scalars(name)]
        for name in shown.Tags()["scalars"]
    }


class Observed:
    """A training with a fresh observer, as each command has one."""

    def __init__(self, run: Path, observer: Any, **options: Any) -> None:
        self.run, self.observer, self.options = run, observer, options

    def __call__(self, event: str, /, **facts: Any) -> None:
        if event == "cpt_metrics_logged":
            known = {name: facts[name] for name in ("output", "step", "metrics")}
            self.observer.cpt_metrics_logged(**known)

    def train(self, model: Path, stop: int | None = None) -> None:
        def notify(event: str, /, **facts: Any) -> None:
            self(event, **facts)
            if (event, facts.get("step")) == ("cpt_step_ended", stop):
                raise InterruptedError

        self.observer.cpt_run_started(output=self.run, options={"train": {"batch_size": 2}})
        asked = {"batch_size": 2, "log_every": 1, "checkpoint_every": 3}
        scores = {"after": {"accuracy": Score(value=0.5, low=0.4, high=0.6)}}
        try:
            tiny.train(self.run, model, tiny.pairs(10), notify=notify, **asked)
        except InterruptedError:
            scores = {}
        self.observer.cpt_run_ended(output=self.run, scores=scores)


def test_a_resumed_training_is_one_curve_with_the_scores_at_its_end(tmp_path: Path) -> None:
    model, run = tiny.folder(tmp_path / "base"), tmp_path / "run"
    Observed(run, TensorBoard()).train(model, stop=5)
    assert [step for step, _ in curves(run)["loss"]] == [1, 2, 3, 4]
    (run / "run.yaml").write_text("options: {}\nstages: {}\n")
    Observed(run, TensorBoard()).train(model)
    shown, lines = curves(run), tiny.read(run)
    assert [step for step, _ in shown["loss"]] == [1, 2, 3, 4, 5]
    assert [value for _, value in shown["loss"]] == pytest.approx(
        [line["loss"] for line in lines], rel=1e-6
    )
    assert {name for line in lines for name in line} <= shown.keys()
    assert shown["scores/after/accuracy"] == [(5, 0.5)]


def test_a_run_is_the_same_run_for_a_tracker_until_its_training_is_another() -> None:
    def key(folder: str, **options: Any) -> str:
        return Tracked(Path(folder), "cpt", "name", options, None).key

    assert key("a", seed=1) == key("a", seed=1, observers=["wandb"], evaluators=[1])
    assert len({key("a", seed=1), key("b", seed=1), key("a", seed=2)}) == 3


@pytest.mark.parametrize("kind", [TensorBoard, Trackio, Wandb, Mlflow])
def test_a_missing_package_is_one_line(
    monkeypatch: pytest.MonkeyPatch, kind: type[Tracker]
) -> None:
    monkeypatch.setattr(
        tracker, "find_spec", lambda name: None if name == kind.package else find_spec(name)
    )
    with pytest.raises(CptError, match=f"--observers {kind.name}: .*`pip install {kind.package}`"):
        kind().check()


def test_a_command_refuses_before_it_begins_and_tracks_only_what_it_is_told(
    cpt_cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.folder(tmp_path / "model")
    rows = [{"prompt": f"{n}?", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(4)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = ["-p", "cpt_trackers", "train", "--pairs", "pairs.jsonl", "--model", "model"]
    line += ["--loss", "dpo", "--train.batch-size", "2"]
    with monkeypatch.context() as missing:
        missing.setattr(tracker, "find_spec", lambda _: None)
        refused = cpt_cli(*line, "--output", "refused", "--observers", "tensorboard")
    assert refused.exit_code == 2 and "pip install tensorboard" in refused.output
    assert not (tmp_path / "refused").exists()
    assert cpt_cli(*line, "--output", "plain").exit_code == 0
    assert not (tmp_path / "plain" / "tensorboard").exists()
    tracked = cpt_cli(*line, "--output", "tracked", "--observers", "tensorboard")
    assert tracked.exit_code == 0, tracked.output
    assert [step for step, _ in curves(tmp_path / "tracked")["loss"]] == [2]


@attrs.frozen
class Telling(Tracker):
    """A tracker whose service repeats the key that it was sent."""

    name = "wandb"
    package = "json"

    def start(self, run: Tracked) -> Any:
        raise RuntimeError(f"{'x' * 380} {os.environ['WANDB_API_KEY']} is no key")


def test_a_tracker_that_fails_does_not_say_its_key(
    cpt_cli: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setattr(trackers, "Wandb", Telling)
    tiny.folder(tmp_path / "model")
    write_pairs(tmp_path / "pairs.jsonl", tiny.pairs(4))
    line = ["train", "--pairs", "pairs.jsonl", "--model", "model", "--loss", "dpo"]
    more = ["--train.batch-size", "2", "--output", "run", "--observers", "wandb"]
    done = cpt_cli(*line, *more)
    assert done.exit_code == 0, done.output
    assert logging.lastResort  # it prints what nobody else does, so not in pytest
    shown = done.output + "".join(map(logging.lastResort.format, caplog.records))
    assert "x *** is no key" in shown
    assert places_with_the_key(tmp_path, shown.encode()) == []


def test_help_loads_no_tracker() -> None:
    assert issubclass(TensorBoard, Observer)
    assert "wandb" not in sys.modules and "mlflow" not in sys.modules
