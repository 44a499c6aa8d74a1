"""What trainings cost: tokens a second, MFU, memory, waits for the device; and TRL beside them.

A model is made on the device where it would be loaded: to write, hash and load 8B weights takes
longer than their steps.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import material
from gpu_parts import Part, Place, Report, folder_of, log_of, trained

import cpt

LN_2 = 0.693147
MEANS = ("tokens_per_second", "mfu", "mfu_exact", "padding")
"""What of the log is reported, as means over the steps behind the first."""


def train(part: Part, place: Place, report: Report) -> None:
    """A few steps: tokens a second, MFU, most memory, the first loss; no model is written."""
    began, folder = time.perf_counter(), folder_of(part, place, weights=False)

    def notify(event: str, /, step: int = 0, **_: Any) -> None:
        if place.device == "cuda":
            _switch_watch(event, step)
        if event == "cpt_metrics_logged":
            seconds = {"seconds": time.perf_counter() - began, "waits": dict(waits)}
            report(_speed(log_of(place.output)) | {"memory": _peak(place.device)} | seconds)
            if step == place.steps:
                raise InterruptedError

    padding = _padding() if part.padded else nullcontext()
    with (
        padding,
        _random_weights(part, place),
        waits_by_line() as waits,
        suppress(InterruptedError),
    ):
        trained(part, place, folder, place.output, notify)


def _random_weights(part: Part, place: Place) -> Any:
    """Inside it a model is made on the device where it would be loaded."""

    def made(folder: Path, *, weights: str, **_: Any) -> Any:
        half = weights == "bf16"
        return material.random_model(part.shape, device=place.device, half=half).eval()

    return patch("cpt.training.module.load_model", made)


def _padding() -> Any:
    """Inside it no model is packed."""
    from cpt.training.data.packing import Layout

    return patch("cpt.training.forward.logps.find_layout", lambda *_: Layout())


def _switch_watch(event: str, step: int) -> None:
    """Let torch warn of each wait for the device in the third step, without its line of the log."""
    import torch

    mode = {("cpt_metrics_logged", 2): "warn", ("cpt_step_ended", 3): "default"}.get((event, step))
    if mode:
        torch.cuda.set_sync_debug_mode(mode)


@contextmanager
def waits_by_line() -> Iterator[Counter[str]]:
    """Inside it, how many of torch's warnings of a wait for the device each line of ours led to."""
    found, others = Counter[str](), warnings.showwarning

    def show(message: Any, *rest: Any, **more: Any) -> None:
        if "synchronizing" in str(message):
            found[_line_of_ours(traceback.extract_stack())] += 1
        else:
            others(message, *rest, **more)

    with warnings.catch_warnings():
        warnings.filterwarnings("always", ".*synchronizing.*")
        warnings.showwarning = show
        yield found


def _line_of_ours(stack: Sequence[traceback.FrameSummary]) -> str:
    """The innermost one."""
    package = Path(cpt.__file__).parent
    for frame in reversed(stack):
        if package in Path(frame.filename).parents:
            return f"{Path(frame.filename).relative_to(package)}:{frame.lineno} {frame.name}"
    return "elsewhere"


def _speed(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The first loss, and means over the steps behind the first."""
    counted = lines[1:] or lines  # the first has kernels to choose and to compile
    means = {
        name: sum(line[name] for line in counted) / len(counted)
        for name in MEANS
        if name in lines[0]
    }
    first = lines[0]["loss"]
    right = abs(first - LN_2) < 1e-5
    return {"first_loss": first, "first_loss_is_ln_2": right, **means, "steps": len(lines)}


def _peak(device: str) -> int:
    """Most bytes so far: on the GPU, or of the process."""
    import resource

    import torch

    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def trl(part: Part, place: Place, report: Report) -> None:
    """`training.py`: both trainers step by step in turn, TRL with its best flags."""
    pairs = place.scratch / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in _rows(place)), encoding="utf-8")
    line = [sys.executable, str(Path(__file__).with_name("training.py")), "--pairs", str(pairs)]
    line += ["--model", part.shape, "--device", place.device, "--precision", "bf16"]
    line += ["--flags", "best", "--steps", "3", "--batch", "4" if place.small else "16"]
    line += ["--max-length", "2048"]
    ended = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=False)
    report({"printed": ended.stdout.splitlines()})
    if ended.returncode:
        raise SystemExit(ended.returncode)


def _rows(place: Place) -> Iterator[dict[str, str]]:
    """Pairs as `training.py` reads them."""
    for pair in place.pairs():
        prompt = pair.prompt.messages[0].content
        yield {"prompt": prompt, "revision": pair.chosen.text, "rejected": pair.rejected.text}
