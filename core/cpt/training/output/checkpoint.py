"""Checkpoints: the state of a training on disk, from which a killed one resumes exactly."""

from __future__ import annotations

import json
import logging
import re
import shutil
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cpt.errors import CptError
from cpt.files import atomic_folder, disk_errors, from_json, unfinished
from cpt.training.output.sharded import is_foreign, load_foreign

log = logging.getLogger("cpt")

STATE = "state.json"
FIELDS = {"step", "digest", "sums", "files"}
"""What a state holds."""
NAME = re.compile(r"step-\d{8,}")

# It warns whenever it writes tied weights once, which is right.
logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)


def save(accelerator: Any, folder: Path, step: int, state: Mapping[str, Any], keep: int) -> Path:
    """Write weights, optimizer, random numbers and `state`, and drop all but `keep` checkpoints.

    Every process calls this. A checkpoint appears under its name only when all of it is on disk.
    Later ones are dropped too: this training did not continue from them, so they are damaged.
    """
    final = folder_at(folder, step)
    is_main = accelerator.is_main_process
    with atomic_folder(final) if is_main else disk_errors(final):
        accelerator.wait_for_everyone()
        accelerator.save_state(str(unfinished(final)))
        accelerator.wait_for_everyone()
        if is_main:
            _write_state(unfinished(final), {"step": step, **state})
    if is_main:
        finished = _finished(folder)
        after = finished.index(final) + 1
        for path in [*finished[: max(0, after - keep)], *finished[after:]]:
            shutil.rmtree(path)
    accelerator.wait_for_everyone()
    return final


def latest(folder: Path, digest: str, *, quiet: bool = False) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint that is not damaged, and its state; None if there are none at all.

    Reports damaged ones, unless `quiet`. Raises `CptError` if all are damaged, or if it belongs
    to a training with another `digest`.
    """
    damaged: list[Path] = []
    for checkpoint in reversed(_finished(folder)):
        state = _read_state(checkpoint)
        if state and state["digest"] != digest:
            raise CptError(
                f"{checkpoint}: belongs to a training with other pairs, loss, model or options; "
                "choose another --output, or delete it to start again."
            )
        if state and _is_whole(checkpoint, state["files"]):
            if damaged and not quiet:
                log.warning("%s; going on from %s", _described(damaged), checkpoint.name)
            return checkpoint, state
        damaged.append(checkpoint)
    if damaged:
        raise CptError(
            f"{_described(damaged)}, and no other is left; put a copy back, or delete {folder} to "
            "start the training again."
        )
    return None


def folder_at(folder: Path, step: int) -> Path:
    """Where the checkpoint of a step is, if there is one."""
    return folder / f"step-{step:08d}"


def load(accelerator: Any, checkpoint: Path) -> None:
    """Restore weights, optimizer and random numbers.

    From a sharded training into a whole model, or the reverse, the random numbers are new ones.
    """
    if is_foreign(accelerator, checkpoint):
        load_foreign(accelerator, checkpoint)
        return
    strict = "load_module_strict" if accelerator.distributed_type == "DEEPSPEED" else "strict"
    whole = not any(map(_frozen, accelerator._models))
    accelerator.load_state(str(checkpoint), **{strict: whole})


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


def _finished(folder: Path) -> list[Path]:
    """The folders that have the name of a checkpoint, from the oldest."""
    found = (path for path in folder.glob("step-*") if NAME.fullmatch(path.name))
    return sorted(path for path in found if path.is_dir())


def _described(damaged: Sequence[Path]) -> str:
    names = ", ".join(path.name for path in damaged)
    return f"{damaged[0].parent}: {names} {'is' if len(damaged) == 1 else 'are'} damaged"


def _write_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Write `state`, and what all other files must be like."""
    files = {
        str(path.relative_to(folder)): _stamp(path) for path in folder.rglob("*") if path.is_file()
    }
    (folder / STATE).write_text(json.dumps({**state, "files": files}), encoding="utf-8")


def _read_state(checkpoint: Path) -> dict[str, Any] | None:
    """What was written; None if it is not there or damaged."""
    try:
        state = from_json((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) and state.keys() >= FIELDS else None


def _is_whole(checkpoint: Path, files: Any) -> bool:
    """Whether every file is as it was written."""
    try:
        return all(_stamp(checkpoint / name) == stamp for name, stamp in files.items())
    except (OSError, AttributeError):
        return False


def _stamp(file: Path) -> list[int]:
    """The size and the CRC-32 of a file."""
    size, checksum = 0, 0
    with file.open("rb") as content:
        while block := content.read(2**20):
            size, checksum = size + len(block), zlib.crc32(block, checksum)
    return [size, checksum]
