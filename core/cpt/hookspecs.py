"""Every point at which a plugin can take part. This file is the extension API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    import click

    from cpt.roles import Evaluator, Judge, Loss, Pairer, Responder, Scheduler

hookspec = HookspecMarker("cpt")
hookimpl = HookimplMarker("cpt")

# Offers: classes that a user picks by name.


@hookspec
def cpt_responders() -> Iterable[type[Responder]]:  # type: ignore[empty-body]
    """Offer classes that answer prompts."""


@hookspec
def cpt_judges() -> Iterable[type[Judge]]:  # type: ignore[empty-body]
    """Offer classes that say how good answers are."""


@hookspec
def cpt_pairers() -> Iterable[type[Pairer]]:  # type: ignore[empty-body]
    """Offer classes that turn prompts into preferences."""


@hookspec
def cpt_schedulers() -> Iterable[type[Scheduler]]:  # type: ignore[empty-body]
    """Offer classes that order pairs into a curriculum."""


@hookspec
def cpt_losses() -> Iterable[type[Loss]]:  # type: ignore[empty-body]
    """Offer losses over pairs."""


@hookspec
def cpt_evaluators() -> Iterable[type[Evaluator]]:  # type: ignore[empty-body]
    """Offer classes that measure a trained model."""


# Offers: what else a command line can say.


@hookspec
def cpt_paths() -> Mapping[str, Callable[[str], Path]]:  # type: ignore[empty-body]
    """Offer path schemes.

    `{"lab": make}` lets `lab:REST` stand wherever a file or a folder is expected; `make(REST)`
    brings it to this machine if need be and returns where it lies.
    """


@hookspec
def cpt_presets() -> Mapping[str, Mapping[str, Any]]:  # type: ignore[empty-body]
    """Offer presets: options by name, as in a YAML file, that lie under the user's own.

    The key `options` holds, by role and name, what a component gets only if it is picked.
    """


@hookspec
def cpt_commands() -> Iterable[click.Command]:  # type: ignore[empty-body]
    """Offer sub-commands of `cpt`."""


# Moments: to observe, on the main process. An exception is logged once and stops nothing.


@hookspec
def cpt_run_started(output: Path, options: Mapping[str, Any]) -> None:
    """A run begins in the folder `output`."""


@hookspec
def cpt_stage_ended(output: Path, stage: str, seconds: float, summary: Mapping[str, Any]) -> None:
    """A stage wrote its artefact."""


@hookspec
def cpt_step_ended(output: Path, step: int, steps: int) -> None:
    """Optimizer step `step` of `steps` is done; the first is 1.

    Called on the main process after every optimizer step, in order. A training that is resumed
    does the steps since its last checkpoint again, and reports them again.
    """


@hookspec
def cpt_metrics_logged(output: Path, step: int, steps: int, metrics: Mapping[str, float]) -> None:
    """A line of metrics was written to `metrics.jsonl`.

    Called on the main process every `train.log_every` steps and at the last one, after that
    step's `cpt_step_ended`. `metrics` is that line: means over all pairs, processes and steps
    since the line before. A training that is resumed drops the lines after its last checkpoint,
    and reports them again with the same values but those of time.
    """


@hookspec
def cpt_checkpoint_saved(output: Path, step: int, path: Path) -> None:
    """The state after `step` is in the folder `path`, and a killed training resumes from it.

    Called on the main process every `train.checkpoint_every` steps, and once more if the user
    stops the training; after that step's `cpt_step_ended` and `cpt_metrics_logged`. All of it is
    on disk by then. Only the latest `train.keep_checkpoints` stay: `path` may be deleted later.
    """


@hookspec
def cpt_run_ended(output: Path, scores: Mapping[str, Any]) -> None:
    """All stages are done."""
