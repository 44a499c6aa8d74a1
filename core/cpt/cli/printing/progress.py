"""What a command reports on standard error while it works: a bar on a terminal, else lines."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cpt.cli.printing.output import echo, in_short, make_warnings_printable, summed_up
from cpt.hookspecs import hookimpl

BARS = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
"""Variables that the libraries read once, when they are imported."""
BETWEEN = 10.0
"""Seconds between two lines outside a terminal."""


def keep_quiet() -> None:
    """No bars of libraries outside a terminal, and no line for every try to reach the hub."""
    make_warnings_printable()
    # PEFT asks transformers for it by an old name.
    warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if not sys.stderr.isatty():
        for name in BARS:
            os.environ.setdefault(name, "1")


class TrainingProgress:
    """An observer like any plugin's."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None
        self._began = self._said = 0.0

    @hookimpl
    def cpt_references_computed(self, done: int, total: int) -> None:
        if sys.stderr.isatty():
            self._shown("references", total).update(self._task, completed=done)
            if done == total:
                self._hide()
            return
        now = time.monotonic()
        if not done:
            self._began = now
        if not done or now - self._said >= BETWEEN:
            self._said = now
            from cpt.asking.progress import clock

            left = f", {clock((now - self._began) / done * (total - done))} left" if done else ""
            echo(f"references: {done:,} of {total:,} tokens{left}", err=True)

    @hookimpl
    def cpt_step_ended(self, step: int, steps: int) -> None:
        if sys.stderr.isatty():
            self._shown("steps", steps).update(self._task, completed=step)

    @hookimpl
    def cpt_metrics_logged(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        if sys.stderr.isatty():
            self._shown("steps", steps).update(self._task, metrics=in_short(metrics))
        else:
            echo(f"step {step}/{steps}  {in_short(metrics)}", err=True)

    @hookimpl
    def cpt_stage_ended(
        self, output: Path, stage: str, seconds: float, summary: Mapping[str, Any], control: str
    ) -> None:
        self._hide()
        from cpt.run.record.rounds import round_of

        number = round_of(output)
        where = f"round {number}: " if number else ""
        where += f"control {control}: " if control else ""
        echo(f"{where}{stage} done in {seconds:.1f} s: {summed_up(summary)}", err=True)

    def _hide(self) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _shown(self, what: str, total: int) -> Any:
        """The bar, once there is something to show."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        if not self._bar:
            columns = (what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            metrics = TextColumn("{task.fields[metrics]}", markup=False)
            self._bar = Bar(*columns, metrics, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=total, metrics="")
            self._bar.start()
        return self._bar
