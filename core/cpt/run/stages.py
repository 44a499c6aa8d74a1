"""The stages of a run, in order, each a function from a configuration and a folder to a summary."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cpt.config import Config, options
from cpt.errors import CptError
from cpt.plugins.registry import Registry
from cpt.roles import Component
from cpt.run.events import Events
from cpt.run.record.folder import Folder
from cpt.run.record.inputs import (
    Made,
    code,
    content,
    deciding,
    known,
    named_in,
    source_digest,
    table_of,
)

Summary = Mapping[str, Any]

NEEDED = {
    "prompts": "what should be asked?",
    "responder": "who should answer?",
    "pairer": "how should pairs be made?",
    "model": "what should be trained?",
    "eval_prompts": "what should the evaluated models be asked?",
    "generator": "how should the evaluated models answer?",
}
"""Options that a stage may be unable to do without, each as the question that it answers."""


@attrs.frozen
class Run:
    """What every stage is given."""

    config: Config
    folder: Folder
    registry: Registry
    events: Events
    redo: bool = False
    """Whether a stage that was made otherwise is made anew, and not refused."""

    @property
    def path(self) -> Path:
        return self.folder.path


@attrs.frozen
class Stage:
    """One step of the pipeline."""

    name: str
    options: tuple[str, ...]
    """The fields of `Config` that decide what it makes."""
    sources: Mapping[str, str]
    """Those of them that name data, each with the table that is read of a run's folder."""
    work: Callable[[Run], Summary]
    unchecked: frozenset[str] = frozenset()
    """Those whose components are not complete before the stage runs."""
    inputs: Callable[[Run], Mapping[str, str | None]] = lambda _: {}
    """A digest of what it takes from earlier stages, where that is there already."""
    ready: Callable[[Run], Any] = lambda _: None
    """Raises `CptError` for what it cannot begin without, before any stage begins."""
    outputs: tuple[str, ...] = ()
    """Files and folders that are its own, and go if it is made anew."""
    leftovers: tuple[str, ...] = ()
    """What a half-done stage leaves that other options must not go on from."""
    collective: bool = False
    """Whether all processes of a multi-process run take part; else the main one works alone."""
    nested: bool = False
    """Whether it consists of runs, which know for themselves what is done."""

    @property
    def checked(self) -> list[str]:
        return [name for name in self.options if name not in self.unchecked]

    def made_from(self, run: Run) -> Made:
        """All that decides what this stage makes, as plain data."""
        values = {name: getattr(run.config, name) for name in self.options}
        return {
            "options": {name: deciding(value) for name, value in values.items()},
            "code": code(values),
            "content": self.content(run),
        }

    def content(self, run: Run) -> dict[str, str]:
        """What stands in the files, models and earlier stages that decide what it makes."""
        data = {name: source_digest(*source) for name, source in self._data(run).items()}
        return content(self._others(run)) | known(data) | known(self.inputs(run))

    def uses(self, run: Run, places: Sequence[Path]) -> list[str]:
        """The options that name one of these files and folders, or what is in one."""
        tables = {name: str(table_of(*source)) for name, source in self._data(run).items()}
        return list(named_in(self._others(run) | tables, places))

    def _data(self, run: Run) -> dict[str, tuple[str, str]]:
        given = ((name, getattr(run.config, name)) for name in self.sources)
        return {name: (source, self.sources[name]) for name, source in given if source}

    def _others(self, run: Run) -> dict[str, Any]:
        names = (name for name in self.checked if name not in self.sources)
        return {name: getattr(run.config, name) for name in names}


def perform(stages: Sequence[Stage], run: Run) -> None:
    """Do every stage that is not done, or was made otherwise and may be made anew.

    Raises `CptError` before any of them begins.
    """
    made = refuse_other(stages, run)
    ahead = _ahead(stages, run, made)
    # What a stage makes anew may turn out to be another input of a later one.
    likely = [each for each in ahead if run.redo or not _is_made(each, run, made[each.name])]
    _refuse_own(stages, run, likely)
    for stage in likely:
        check([getattr(run.config, name) for name in stage.checked])
    if not is_main():
        _follow(stages, run, made)
        return
    for stage in likely:
        stage.ready(run)
    run.folder.open(options.converter(run.registry).unstructure(run.config))
    run.events("cpt_run_started", options=run.folder.options)
    for stage in ahead:
        _do(stage, run, _now(stage, run, made))


def _do(stage: Stage, run: Run, now: Made) -> None:
    if not run.redo:
        run.folder.refuse_other(stage.name, now, stage.leftovers)
    if _is_made(stage, run, now):
        return
    if run.folder.differences(stage.name, now, stage.leftovers):
        run.folder.undo(stage.name, stage.outputs)
    run.folder.begin(stage.name, now)
    began = time.perf_counter()
    summary = _worked(stage, run)
    seconds = time.perf_counter() - began
    run.folder.finish(stage.name, seconds, summary)
    run.events("cpt_stage_ended", stage=stage.name, seconds=seconds, summary=summary)


def refuse_other(stages: Sequence[Stage], run: Run) -> Mapping[str, Made]:
    """What decides each stage, by its name.

    Raises `CptError` if one was made otherwise and may not be made anew.
    """
    made = {stage.name: stage.made_from(run) for stage in stages}
    for stage in stages if not run.redo else ():
        run.folder.refuse_other(stage.name, made[stage.name], stage.leftovers)
    return made


def _ahead(stages: Sequence[Stage], run: Run, made: Mapping[str, Made]) -> Sequence[Stage]:
    """The first stage that there is work for, and all that follow it."""
    work = (at for at, each in enumerate(stages) if not _is_made(each, run, made[each.name]))
    return stages[next(work, len(stages)) :]


def _refuse_own(stages: Sequence[Stage], run: Run, likely: Sequence[Stage]) -> None:
    """Raise `CptError` if an option names what may be taken away to be made anew."""
    places = [run.path / each for stage in likely for each in stage.outputs] if run.redo else []
    for stage in stages if places else ():
        for address in stage.uses(run, places):
            raise CptError(
                f"{address}: names what --redo would take away from {run.path} to make it anew; "
                "choose another --output."
            )


def _now(stage: Stage, run: Run, made: Mapping[str, Made]) -> Made:
    """What decides a stage whose turn it is: its code was loaded before, its inputs are new."""
    return {**made[stage.name], "content": stage.content(run)}


def _is_made(stage: Stage, run: Run, now: Made) -> bool:
    """Whether there is nothing to do."""
    if not run.folder.is_done(stage.name) or _may_be_mended(stage, run):
        return False
    if run.redo and stage.nested:
        return False
    return not run.folder.differences(stage.name, now, stage.leftovers)


def _may_be_mended(stage: Stage, run: Run) -> bool:
    """Whether a stage was done in spite of failures that may pass, and nothing stands on it yet.

    Never under a launcher: the other processes go on with what is there.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        return False
    unfinished = run.folder.stage(stage.name)["summary"].get("unfinished")
    following = list(run.folder.record["stages"])[-1] != stage.name
    return bool(unfinished) and not following


def _worked(stage: Stage, run: Run) -> Summary:
    try:
        return stage.work(run)
    except CptError:
        run.folder.forget(stage.name, stage.leftovers)
        raise


def is_main() -> bool:
    """Whether this is the process that writes, of all that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def _follow(stages: Sequence[Stage], run: Run, made: Mapping[str, Made]) -> None:
    """What the other processes do: take part where all must, and wait for the main one else."""
    for stage in stages:
        while run.folder.differences(stage.name, now := _now(stage, run, made), stage.leftovers):
            if not run.redo:
                run.folder.refuse_other(stage.name, now, stage.leftovers)
            time.sleep(0.2)  # until the main one has taken back what it makes anew
        if stage.collective:
            stage.work(run)
        while not run.folder.is_done(stage.name):
            time.sleep(0.2)


def check(value: Any) -> None:
    """Ask every component, however deep, whether it can work here. Raises `CptError`."""
    if isinstance(value, Component):
        value.check()
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            check(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for inner in value.values():
            check(inner)
    elif isinstance(value, tuple | list):
        for inner in value:
            check(inner)


def needed(run: Run, field: str) -> Any:
    """An option that a stage cannot do without. Raises `CptError` that names its flag."""
    value = getattr(run.config, field)
    if value is None:
        raise CptError(f"--{field.replace('_', '-')} must be given: {NEEDED[field]}")
    return value
