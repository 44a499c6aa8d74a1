"""What a training shows: a bar that moves at every step, or a line for every line of metrics."""

from __future__ import annotations

import io
import sys

import pytest

from cpt.cli.printing.progress import Progress

METRICS = {"loss": 0.5, "rewards/accuracies": 0.75, "mine/kl": 0.25}
SHOWN = "loss 0.5  accuracy 0.75  mine/kl 0.25"


def test_outside_a_terminal_there_is_a_line_for_every_line_of_metrics(
    capsys: pytest.CaptureFixture[str],
) -> None:
    progress = Progress()
    for step in (1, 2, 3):
        progress.cpt_step_ended(step, 4)
    assert capsys.readouterr().err == ""
    progress.cpt_metrics_logged(3, 4, METRICS)
    assert capsys.readouterr().err == f"step 3/4  {SHOWN}\n"


def test_on_a_terminal_the_bar_moves_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "200")
    progress = Progress()
    try:
        progress.cpt_step_ended(1, 4)
        (task,) = progress._bar.tasks
        assert (task.completed, task.total, task.fields["metrics"]) == (1, 4, "")
        progress.cpt_metrics_logged(1, 4, METRICS)
        progress.cpt_step_ended(2, 4)
        (task,) = progress._bar.tasks
        assert (task.completed, task.fields["metrics"]) == (2, SHOWN)
    finally:
        progress.cpt_stage_ended("model", 1.0, {"steps": 4}, control="")
    assert "model done in 1.0 s: steps 4" in sys.stderr.getvalue()  # type: ignore[attr-defined]
