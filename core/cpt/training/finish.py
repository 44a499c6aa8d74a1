"""The end of a training: what is said of it, then the model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cpt.errors import CptError
from cpt.files import from_json, json_text, write_text
from cpt.training.loss import metrics
from cpt.training.monitoring.watch import Watch
from cpt.training.output.export import Trained, collect, export, how_to_store
from cpt.training.state import State

log = logging.getLogger(__name__)


def finish(state: State, output: Path, watch: Watch) -> Mapping[str, Any]:
    """Write `training.json`, then the model. Every process calls this."""
    accelerator = state.accelerator
    accelerator.wait_for_everyone()  # until the last line is written
    best = watch.take_best()
    trained = collect(accelerator, state.wrapped_module, state.plan, output)
    if accelerator.is_main_process:
        _write(state, trained, output, best)
        watch.clear()
    accelerator.wait_for_everyone()
    accelerator.free_memory()
    return read_summary(output)


def _write(state: State, trained: Trained, output: Path, best: Mapping[str, Any]) -> None:
    """`best` is what is said of an exported step that was chosen."""
    plan, lines = state.plan, metrics.read(output / "metrics.jsonl")
    step = best["best"]["step"] if best else lines[-1]["step"]
    last = next(line for line in reversed(lines) if line["step"] == step)
    how = how_to_store(plan, trained)
    summary = {
        "pairs": plan.diagnosis.kept,
        "dropped": plan.diagnosis.dropped,
        "noted": plan.diagnosis.noted,
        "steps": state.done,
        **best,
        "weights": how.plain(),
        "metrics": last,
    }
    write_text(output / "training.json", json_text(summary, indent=1))
    export(plan, trained, how, output / "model", metrics=last)
    if how.rounded_to:
        log.warning("%s", how.sentence)


def read_summary(output: Path) -> Mapping[str, Any]:
    """The summary of a training that is done. Raises `CptError` if it is missing or damaged."""
    path = output / "training.json"
    try:
        summary = from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        summary = None
    if not isinstance(summary, dict):
        raise CptError(
            f"{path}: missing or damaged, though {output / 'model'} is there; put it back, or move "
            "the model away: the training then continues from its last checkpoint."
        )
    return summary
