"""Checkpoints: the state of a training on disk, from which a killed one resumes exactly."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cpt.errors import CptError
from cpt.files import sync

STATE = "state.json"

# It warns whenever it writes tied weights once, which is right.
logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)


def save(accelerator: Any, folder: Path, step: int, state: Mapping[str, Any], keep: int) -> Path:
    """Write weights, optimizer, random numbers and `state`, and drop all but `keep` checkpoints.

    Every process calls this. A checkpoint appears under its name only when all of it is on disk.
    """
    final = folder / f"step-{step:08d}"
    temporary = folder / f".{final.name}.tmp"
    if accelerator.is_main_process:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        (temporary / STATE).write_text(json.dumps({"step": step, **state}), encoding="utf-8")
        shutil.rmtree(final, ignore_errors=True)
        publish(temporary, final)
        for old in _finished(folder)[:-keep]:
            shutil.rmtree(old)
    accelerator.wait_for_everyone()
    return final


def latest(folder: Path, digest: str) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint and its state; None if there is none.

    Raises `CptError` if it belongs to a training with another `digest`.
    """
    found = _finished(folder)
    if not found:
        return None
    state = json.loads((found[-1] / STATE).read_text(encoding="utf-8"))
    if state["digest"] != digest:
        raise CptError(
            f"{found[-1]}: belongs to a training with other pairs, loss, model or options; "
            "choose another --output, or delete it to start again."
        )
    return found[-1], state


def load(accelerator: Any, checkpoint: Path) -> None:
    """Restore weights, optimizer and random numbers."""
    accelerator.load_state(str(checkpoint), strict=not any(map(_frozen, accelerator._models)))


def leave_out_frozen(models: Sequence[nn.Module], weights: list[dict[str, Tensor]], _: str) -> None:
    """Drop from what is saved the weights that are never trained: the model's folder has them.

    Sharded models come without `weights`, and are saved whole.
    """
    for model, state in zip(models, weights, strict=False):
        for name in _frozen(model):
            state.pop(name, None)


def _frozen(model: nn.Module) -> set[str]:
    return {
        name
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if not parameter.requires_grad
    }


def publish(temporary: Path, final: Path) -> None:
    """Give a written folder its name, once all that is in it is on the disk."""
    for path in [*temporary.rglob("*"), temporary]:
        sync(path)
    temporary.rename(final)
    sync(final.parent)


def _finished(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
