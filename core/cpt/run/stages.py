"""The stages of a run, in order, each a function from a configuration and a folder to a summary."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cpt import options, paths
from cpt.config import Config
from cpt.errors import CptError
from cpt.registry import Registry
from cpt.roles import Component
from cpt.run.folder import Folder, digest_of
from cpt.run.moments import Moments

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
    moments: Moments

    @property
    def path(self) -> Path:
        return self.folder.path


@attrs.frozen
class Stage:
    """One step of the road."""

    name: str
    options: tuple[str, ...]
    """The fields of `Config` that decide what it makes."""
    sources: tuple[str, ...]
    """Those of them that name data, whose content counts too."""
    work: Callable[[Run], Summary]
    unchecked: frozenset[str] = frozenset()
    """Those whose components are not complete before the stage runs."""
    ready: Callable[[Run], Any] = lambda _: None
    """Raises `CptError` for what it cannot begin without, before any stage begins."""
    traces: tuple[str, ...] = ()
    """What a half-done stage leaves that other options must not go on from."""
    collective: bool = False
    """Whether all processes of a multi-process run take part; else the main one works alone."""

    @property
    def checked(self) -> list[str]:
        return [name for name in self.options if name not in self.unchecked]

    def made_from(self, run: Run) -> dict[str, Any]:
        """All that decides what this stage makes, as plain data."""
        made = {name: _deciding(getattr(run.config, name)) for name in self.options}
        for name in self.sources:
            if source := getattr(run.config, name):
                made[f"{name}_digest"] = _digest(source)
        return made


def _deciding(value: Any) -> Any:
    """A value as plain data, less the options that are marked `NOT_IDENTITY`."""
    if attrs.has(type(value)):
        fields = attrs.fields(type(value))
        named = {"name": value.name} if isinstance(value, Component) else {}
        return named | {
            field.name: _deciding(getattr(value, field.name))
            for field in fields
            if field.init and field.metadata.get("identity", True)
        }
    if isinstance(value, Mapping):
        return {name: _deciding(inner) for name, inner in value.items()}
    return [_deciding(inner) for inner in value] if isinstance(value, tuple | list) else value


def perform(stages: Sequence[Stage], run: Run) -> None:
    """Do every stage that is not done. Raises `CptError` before any of them begins."""
    made = refuse_other(stages, run)
    for stage in stages:
        if not run.folder.is_done(stage.name):
            check([getattr(run.config, name) for name in stage.checked])
    if not is_main():
        _follow(stages, run)
        return
    for stage in stages:
        if not run.folder.is_done(stage.name):
            stage.ready(run)
    run.folder.open(options.converter(run.registry).unstructure(run.config))
    run.moments("cpt_run_started", options=run.folder.options)
    for stage in stages:
        if run.folder.is_done(stage.name) and not _may_be_mended(stage, run):
            continue
        run.folder.begin(stage.name, made[stage.name])
        began = time.perf_counter()
        summary = _worked(stage, run)
        seconds = time.perf_counter() - began
        run.folder.finish(stage.name, seconds, summary)
        run.moments("cpt_stage_ended", stage=stage.name, seconds=seconds, summary=summary)


def refuse_other(stages: Sequence[Stage], run: Run) -> Mapping[str, Mapping[str, Any]]:
    """What decides each stage, by its name. Raises `CptError` if one was made otherwise."""
    made = {stage.name: stage.made_from(run) for stage in stages}
    for stage in stages:
        run.folder.refuse_other(stage.name, made[stage.name], stage.traces)
    return made


def _may_be_mended(stage: Stage, run: Run) -> bool:
    """Whether a stage was done in spite of failures that may pass, and nothing stands on it yet."""
    unfinished = run.folder.stage(stage.name)["summary"].get("unfinished")
    following = list(run.folder.record["stages"])[-1] != stage.name
    return bool(unfinished) and not following


def _worked(stage: Stage, run: Run) -> Summary:
    try:
        return stage.work(run)
    except CptError:
        run.folder.forget(stage.name, stage.traces)
        raise


def is_main() -> bool:
    """Whether this is the process that writes, of all that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def _follow(stages: Sequence[Stage], run: Run) -> None:
    """What the other processes do: take part where all must, and wait for the main one else."""
    for stage in stages:
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


def _digest(source: str) -> str:
    path = Path(paths.resolve(source))
    return digest_of(path) if path.exists() else source


def needed(run: Run, field: str) -> Any:
    """An option that a stage cannot do without. Raises `CptError` that names its flag."""
    value = getattr(run.config, field)
    if value is None:
        raise CptError(f"--{field.replace('_', '-')} must be given: {NEEDED[field]}")
    return value
