"""What a training shows: a bar that moves at every step, or a line for every line of metrics."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from cpt.cli.printing.progress import TrainingProgress

METRICS = {"loss": 0.5, "rewards/accuracies": 0.75, "mine/kl": 0.25}
SHOWN = "loss 0.5  accuracy 0.75  mine/kl 0.25"


def test_outside_a_terminal_there_is_a_line_for_every_line_of_metrics(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = TrainingProgress()
    for step in (1, 2, 3):
        progress.cpt_step_ended(step, 4)
    assert capsys.readouterr().err == ""
    progress.cpt_metrics_logged(3, 4, METRICS)
    assert capsys.readouterr().err == f"step 3/4  {SHOWN}\n"


def test_references_have_a_first_line_at_once_then_one_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("cpt.cli.printing.progress.time.monotonic", lambda: now)
    progress = TrainingProgress()
    for done in (0, 250, 500, 1000):
        progress.cpt_references_computed(done, 2000)
        now += 6
    assert capsys.readouterr().err.splitlines() == [
        "references: 0 of 2,000 tokens",
        "references: 500 of 2,000 tokens, 0:00:36 left",
    ]


def test_on_a_terminal_references_have_a_bar_that_goes_before_that_of_the_steps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    progress = TrainingProgress()
    progress.cpt_references_computed(5, 10)
    task = task_of(progress)
    assert (task.completed, task.total) == (5, 10)
    progress.cpt_references_computed(10, 10)
    assert progress._bar is None
    progress.cpt_step_ended(1, 4)
    assert task_of(progress).total == 4
    progress.cpt_stage_ended(Path("run"), "model", 1.0, {"steps": 4}, "")


def task_of(progress: TrainingProgress) -> Any:
    (task,) = progress._bar.tasks
    return task


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_bar_moves_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    progress = TrainingProgress()
    try:
        progress.cpt_step_ended(1, 4)
        task = task_of(progress)
        assert (task.completed, task.total, task.fields["metrics"]) == (1, 4, "")
        progress.cpt_metrics_logged(1, 4, METRICS)
        progress.cpt_step_ended(2, 4)
        task = task_of(progress)
        assert (task.completed, task.fields["metrics"]) == (2, SHOWN)
    finally:
        progress.cpt_stage_ended(Path("run"), "model", 1.0, {"steps": 4}, control="")
    assert "model done in 1.0 s: steps 4" in terminal.getvalue()
