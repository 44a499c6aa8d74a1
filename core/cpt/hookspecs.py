"""Every point at which a plugin can take part. This file is the extension API."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pluggy import HookimplMarker, HookspecMarker

if TYPE_CHECKING:
    import click

    from cpt.roles import Evaluator, Filter, Judge, Loss, Observer, Pairer, Responder, Scheduler
    from cpt.types import Score

hookspec = HookspecMarker("cpt")
hookimpl = HookimplMarker("cpt")

# Offers: classes that a user picks by name
#
# Each is called once, when the plugin is loaded: at the beginning of every command, of `--help` and
# the completion of words, too. It returns a list of classes; or, so that each is imported only when
# it is picked, a mapping from names to places: `{"short": "my_package.short:Short"}`. A plugin that
# offers what no run could use is listed as broken by `cpt plugins`, and the others work without it.


@hookspec
def cpt_responders() -> Iterable[type[Responder]] | Mapping[str, str]:  # type: ignore[empty-body]
    """Offer classes that answer prompts."""


@hookspec
def cpt_judges() -> Iterable[type[Judge]] | Mapping[str, str]:  # type: ignore[empty-body]
    """Offer classes that say how good answers are."""


@hookspec
def cpt_pairers() -> Iterable[type[Pairer]] | Mapping[str, str]:  # type: ignore[empty-body]
    """Offer classes that turn prompts into preferences."""


@hookspec
def cpt_filters() -> Iterable[type[Filter]] | Mapping[str, str]:  # type: ignore[empty-body]
    """Offer classes that leave pairs out: `--filters NAME` picks them, in order."""


@hookspec
def cpt_schedulers() -> Iterable[type[Scheduler]] | Mapping[str, str]:  # type: ignore[empty-body]
    """Offer classes that order pairs into a curriculum."""


@hookspec
def cpt_losses() -> Iterable[type[Loss]] | Mapping[str, str]:  # type: ignore[empty-body]
    """Offer losses over pairs."""


@hookspec
def cpt_evaluators() -> Iterable[type[Evaluator]] | Mapping[str, str]:  # type: ignore[empty-body]
    """Offer classes that measure a trained model."""


@hookspec
def cpt_observers() -> Iterable[type[Observer]] | Mapping[str, str]:  # type: ignore[empty-body]
    """Offer classes that observe a run and have options: `--observers NAME` picks them."""


# Offers: what else a command line can name
#
# Called once, as those above.


@hookspec
def cpt_paths() -> Mapping[str, Callable[[str], Path]]:  # type: ignore[empty-body]
    """Offer path schemes.

    With `{"lab": make}`, `lab:REST` can be given wherever a file or a folder is expected;
    `make(REST)` brings it to this machine if need be and returns its path. It is called whenever
    such a path is read, several times in a command, and on every process of a launch: what is there
    already must cost nothing. A `CptError` of it is shown as one line.
    """


@hookspec
def cpt_presets() -> Mapping[str, Mapping[str, Any]]:  # type: ignore[empty-body]
    """Offer presets: options by name, as in a YAML file. What the user gives wins over them.

    The key `options` holds, by role and name, what a component gets only if it is picked.
    """


@hookspec
def cpt_commands() -> Iterable[click.Command]:  # type: ignore[empty-body]
    """Offer sub-commands of `cpt`.

    Their options also come from `--config FILE` and from the environment, as `commands.NAME.OPTION`
    and `CPT_COMMANDS__NAME__OPTION`.
    """


# Events: what happens in a run, to observe
#
# Called on the main process, one plugin after the other, while the run waits. They return nothing.
# The first exception of a plugin is logged with its name; none stops the run.


@hookspec
def cpt_run_started(output: Path, options: Mapping[str, Any], control: str) -> None:
    """The stages of a command are about to begin in the folder `output`.

    Called once by every command that does stages (`cpt`, `cpt pair`, `cpt train`, `cpt eval`),
    when all that can be checked before was checked, even if no stage has anything left to do. A
    control that is trained is a run in a folder of its own, within the stage `controls`: then
    `control` is its name. For the run itself `control` is empty, in every event. `options` are
    those of `run.yaml`, as plain data.
    """


@hookspec
def cpt_stage_ended(
    output: Path, stage: str, seconds: float, summary: Mapping[str, Any], control: str
) -> None:
    """A stage is done: its artefacts are on disk and `run.yaml` says so.

    Called once for every stage that was done, not for one that was skipped because it was done
    before, nor for one that failed. `seconds` is what it took in this process; after an
    interruption, what was left of it. `summary` is what `run.yaml` holds of it.
    """


@hookspec
def cpt_references_computed(output: Path, done: int, total: int, control: str) -> None:
    """Of `total` tokens whose log-probability under the reference is missing, `done` are computed.

    Called on the main process before the first step: with `done` 0 when all is loaded, then after
    every call of the model. Not called if all are kept from before, or if the loss needs none.
    """


@hookspec
def cpt_step_ended(output: Path, step: int, steps: int, control: str) -> None:
    """Optimizer step `step` of `steps` is done; the first is 1.

    Called on the main process after every optimizer step, in order. A training that is resumed
    does the steps since its last checkpoint again, and reports them again.
    """


@hookspec
def cpt_metrics_logged(
    output: Path, step: int, steps: int, metrics: Mapping[str, float], control: str
) -> None:
    """A line of metrics was written to `metrics.jsonl`.

    Called on the main process every `train.log_every` steps and at the last one, after that
    step's `cpt_step_ended`. `metrics` is that line: means over all pairs, processes and steps
    since the line before. A training that is resumed drops the lines after its last checkpoint,
    and reports them again with the same values but those of time.
    """


@hookspec
def cpt_checkpoint_saved(output: Path, step: int, path: Path, control: str) -> None:
    """The state after `step` is in the folder `path`, and a killed training resumes from it.

    Called on the main process every `train.checkpoint_every` steps, and once more if the user
    stops the training; after that step's `cpt_step_ended` and `cpt_metrics_logged`. All of it is
    on disk by then. Only the latest `train.keep_checkpoints` stay: `path` may be deleted later.
    """


@hookspec
def cpt_run_ended(
    output: Path,
    scores: Mapping[str, Mapping[str, Score]],
    error: BaseException | None,
    control: str,
) -> None:
    """The stages of a command are done, or one of them failed.

    Called once after every `cpt_run_started`, on failure and on Ctrl-C too; only a process that
    is killed does not get to it. `error` is what ended the run early (a `CptError`, a
    `KeyboardInterrupt`, a bug), None if nothing did; it continues after the call. `scores` are
    those of `scores.json`, by model (`before`, `after`, the controls) and name: empty if the
    command does not measure, if there are no evaluators, or if there is an error.
    """
