"""What a command reports on standard error while it works: a bar on a terminal, else lines."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from cpt.cli.printing.output import echo, in_short, make_warnings_printable, summed_up
from cpt.hookspecs import hookimpl

BARS = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
"""Variables that the libraries read once, when they are imported."""


def keep_quiet() -> None:
    """No bars of libraries outside a terminal, and no line for every try to reach the hub."""
    make_warnings_printable()
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")
    if not sys.stderr.isatty():
        for name in BARS:
            os.environ.setdefault(name, "1")


class Progress:
    """An observer like any plugin's."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    @hookimpl
    def cpt_step_ended(self, step: int, steps: int) -> None:
        if sys.stderr.isatty():
            self._shown(steps).update(self._task, completed=step)

    @hookimpl
    def cpt_metrics_logged(self, step: int, steps: int, metrics: Mapping[str, float]) -> None:
        if sys.stderr.isatty():
            self._shown(steps).update(self._task, metrics=in_short(metrics))
        else:
            echo(f"step {step}/{steps}  {in_short(metrics)}", err=True)

    @hookimpl
    def cpt_stage_ended(
        self, stage: str, seconds: float, summary: Mapping[str, Any], control: str
    ) -> None:
        if self._bar:
            self._bar.stop()
            self._bar = None
        where = f"control {control}: " if control else ""
        echo(f"{where}{stage} done in {seconds:.1f} s: {summed_up(summary)}", err=True)

    def _shown(self, steps: int) -> Any:
        """The bar, once there is something to show."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        if not self._bar:
            columns = ("steps", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            metrics = TextColumn("{task.fields[metrics]}", markup=False)
            self._bar = Bar(*columns, metrics, console=Console(stderr=True))
            self._task = self._bar.add_task("", total=steps, metrics="")
            self._bar.start()
        return self._bar
