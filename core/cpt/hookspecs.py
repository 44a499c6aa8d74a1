"""Every point at which a plugin can take part. This file is the extension API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    import click

    from cpt.roles import Evaluator, Judge, Loss, Observer, Pairer, Responder, Scheduler

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


@hookspec
def cpt_observers() -> Iterable[type[Observer]]:  # type: ignore[empty-body]
    """Offer classes that observe a run and have options: `--observers NAME` picks them."""


# Offers: what else a command line can name.


@hookspec
def cpt_paths() -> Mapping[str, Callable[[str], Path]]:  # type: ignore[empty-body]
    """Offer path schemes.

    With `{"lab": make}`, `lab:REST` can be given wherever a file or a folder is expected;
    `make(REST)` brings it to this machine if need be and returns its path.
    """


@hookspec
def cpt_presets() -> Mapping[str, Mapping[str, Any]]:  # type: ignore[empty-body]
    """Offer presets: options by name, as in a YAML file. What the user gives wins over them.

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
def cpt_step_ended(output: Path, step: int, steps: int, metrics: Mapping[str, float]) -> None:
    """Optimizer step `step` of `steps` is done; the first is 1."""


@hookspec
def cpt_checkpoint_saved(output: Path, step: int, path: Path) -> None:
    """The state after `step` is on disk."""


@hookspec
def cpt_run_ended(output: Path, scores: Mapping[str, Any]) -> None:
    """All stages are done."""
