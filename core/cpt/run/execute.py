"""Doing stages: what is up to date is skipped, what was made from other inputs is refused."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs

from cpt.config import options
from cpt.errors import CptError
from cpt.roles import Component
from cpt.run.record.inputs import Inputs
from cpt.run.results.scores import read_scores
from cpt.run.stage import Run, Stage, Summary, is_main

POLL = 0.2
"""Seconds between two looks at the record by a process that waits for the main one."""


def execute(stages: Sequence[Stage], run: Run) -> None:
    """Do every stage that is not up to date. Raises `CptError` before any of them begins.

    The main process calls `cpt_run_started` and, whatever happens after it, `cpt_run_ended`.
    """
    inputs = inputs_of(stages, run)
    check_all_unchanged(stages, run, inputs)
    remaining = _remaining(stages, run, inputs)
    # What a stage makes again may turn out to be another input of a later one.
    to_do = [
        stage for stage in remaining if run.redo or not _is_current(stage, run, inputs[stage.name])
    ]
    _refuse_own_outputs(stages, run, to_do)
    for stage in to_do:
        check(stage.to_check(run))
    if not is_main():
        _take_part(stages, run, inputs)
        return
    for stage in to_do:
        stage.ready(run)
    run.folder.open(options.converter(run.registry).unstructure(run.config))
    _do_all(remaining, run, inputs, measures="scores" in inputs)


def inputs_of(stages: Sequence[Stage], run: Run) -> Mapping[str, Inputs]:
    """The inputs of each stage, by its name."""
    return {stage.name: stage.inputs(run) for stage in stages}


def check_all_unchanged(stages: Sequence[Stage], run: Run, inputs: Mapping[str, Inputs]) -> None:
    """Raise `CptError` if a stage was made from other inputs and may not be made again."""
    for stage in stages if not run.redo else ():
        run.folder.check_unchanged(stage.name, inputs[stage.name], stage.leftovers)


def _do_all(
    stages: Sequence[Stage], run: Run, inputs: Mapping[str, Inputs], *, measures: bool
) -> None:
    """Do stages between the first and the last event of a run."""
    run.events("cpt_run_started", options=run.folder.options)
    try:
        for stage in stages:
            _run_stage(stage, run, _with_new_content(stage, run, inputs))
        scores = read_scores(run.path / "scores.json") if measures else {}
    except BaseException as error:
        run.events("cpt_run_ended", scores={}, error=error)
        raise
    run.events("cpt_run_ended", scores=scores, error=None)


def _run_stage(stage: Stage, run: Run, inputs: Inputs) -> None:
    if not run.redo:
        run.folder.check_unchanged(stage.name, inputs, stage.leftovers)
    if _is_current(stage, run, inputs):
        return
    if run.folder.differences(stage.name, inputs, stage.leftovers):
        run.folder.undo(stage.name, stage.outputs)
    run.folder.begin(stage.name, inputs)
    began = time.perf_counter()
    summary = _work_on(stage, run, inputs)
    seconds = time.perf_counter() - began
    run.folder.finish(stage.name, seconds, summary)
    run.events("cpt_stage_ended", stage=stage.name, seconds=seconds, summary=summary)


def _work_on(stage: Stage, run: Run, inputs: Inputs) -> Summary:
    try:
        summary = stage.work(run)
        _refuse_changed(stage, run, inputs)
        return summary
    except CptError:
        with suppress(OSError):  # a disk is full: what is recorded binds nobody
            run.folder.forget(stage.name, stage.leftovers)
        raise


def _refuse_changed(stage: Stage, run: Run, inputs: Inputs) -> None:
    """Raise `CptError` if what was read may not be what is recorded."""
    for address, (text, digest) in stage.read_digests(run).items():
        if digest != inputs["content"].get(address, digest):
            raise CptError(
                f"{address} {text}: changed while it was read; the same command reads it again."
            )


def _remaining(stages: Sequence[Stage], run: Run, inputs: Mapping[str, Inputs]) -> Sequence[Stage]:
    """The first stage that is not up to date, and all that follow it."""
    outdated = (
        index
        for index, stage in enumerate(stages)
        if not _is_current(stage, run, inputs[stage.name])
    )
    return stages[next(outdated, len(stages)) :]


def _refuse_own_outputs(stages: Sequence[Stage], run: Run, to_do: Sequence[Stage]) -> None:
    """Raise `CptError` if an option names what may be removed to make it again."""
    places = [run.path / output for stage in to_do for output in stage.outputs] if run.redo else []
    for stage in stages if places else ():
        for address in stage.options_inside(run, places):
            raise CptError(
                f"{address}: names what --redo would remove from {run.path} to make it again; "
                "choose another --output."
            )


def _with_new_content(stage: Stage, run: Run, inputs: Mapping[str, Inputs]) -> Inputs:
    """The inputs of a stage whose turn it is: earlier stages may have changed its content."""
    return {**inputs[stage.name], "content": stage.content_digests(run)}


def _is_current(stage: Stage, run: Run, inputs: Inputs) -> bool:
    """Whether the stage is done, from these inputs, and has nothing to try again."""
    if not run.folder.is_done(stage.name) or _has_retries(stage, run):
        return False
    if run.redo and stage.has_runs:
        return False  # its runs know for themselves
    return not run.folder.differences(stage.name, inputs, stage.leftovers)


def _has_retries(stage: Stage, run: Run) -> bool:
    """Whether it ended with failures that may pass, and no later stage has used its result.

    Never under a launcher: the other processes continue with what is there.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        return False
    summary = run.folder.stage(stage.name)["summary"]
    again = any(summary.get("incomplete", {}).get(outcome) for outcome in run.config.asking.again)
    is_last = list(run.folder.record["stages"])[-1] == stage.name
    return (bool(summary.get("unfinished")) and is_last) or (again and (is_last or run.redo))


def _take_part(stages: Sequence[Stage], run: Run, inputs: Mapping[str, Inputs]) -> None:
    """What the other processes do: take part where all must, else wait for the main one."""
    for stage in stages:
        while run.folder.differences(
            stage.name, current := _with_new_content(stage, run, inputs), stage.leftovers
        ):
            if not run.redo:
                run.folder.check_unchanged(stage.name, current, stage.leftovers)
            time.sleep(POLL)  # until the main one has removed what it makes again
        if stage.collective:
            stage.work(run)
        while not run.folder.is_done(stage.name):
            time.sleep(POLL)


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
