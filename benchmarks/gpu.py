"""Every path of a GPU against the plain one, then speed and memory, in under eight minutes.

    python benchmarks/gpu.py --output gpu.json
    python benchmarks/gpu.py --device cpu --small --output dry.json    # the same on any machine

Weights and pairs are random, so nothing is downloaded. For a machine without a network, which has
torch and transformers, the rest is fetched on another one and copied there with this folder:

    pip wheel --no-deps -w wheels .
    pip download --no-deps -d wheels accelerate attrs click pluggy pyarrow rapidfuzz peft torchao
    pip install --no-index --no-deps wheels/*.whl

(or each wheel is unpacked, `python -m zipfile -e FILE.whl site`, and run with PYTHONPATH=site).

Each part (`gpu_exact.py`, `gpu_speed.py`) is a process of its own: one that fails or takes too long
is recorded as such, with its last report, and the others continue; one whose libraries are
missing is left out. Each has a share of the time, and what the parts before it have left; the most
telling come first. The output is written after every part. TMPDIR needs about 8 GB. Speed is that
of a training through `cpt.training.train`, references computed before; MFU as others count it
(`mfu`) and of what is needed (`mfu_exact`); `waits` counts by line where one step waits for the
device. TRL is run beside it with its best flags, if it is there with what it needs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import date
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

import gpu_exact
import gpu_speed
from gpu_parts import Part, Place, Report

from cpt.files import json_text, write_text

WORK: Mapping[str, Callable[[Part, Place, Report], None]] = {
    "paths": gpu_exact.paths,
    "resume": gpu_exact.resume,
    "train": gpu_speed.train,
    "trl": gpu_speed.trl,
}
BUDGET = 460.0
"""Seconds for all parts together, which divide them: less than eight minutes, as ending one that
hangs takes a few as well."""
LAST_LINES = 12
"""Of what a part that failed said to its standard error."""
TRL, LOW_BIT, JIT = ("trl", "datasets"), ("torchao", "triton"), ("triton",)
"""Libraries that parts need."""
FULL: Mapping[str, Any] = {"weights": "bf16", "optimizer": "adamw_8bit"}
LORA_8B: Mapping[str, Any] = {"weights": "bf16", "lora_rank": 16, "gradient_checkpointing": True}


def parts(small: bool) -> dict[str, Part]:
    """Everything, the most telling first; together no more than the budget."""
    return _small() if small else _large()


def _large() -> dict[str, Part]:
    return {
        "paths": Part(do="paths", shape="135m", seconds=65),
        "0.5b": _training("500m", seconds=30),
        "8b, full": _training("8b", LOW_BIT, seconds=80, gradient_checkpointing=True, **FULL),
        "trl": Part(do="trl", shape="500m", needs=TRL, seconds=50),
        "8b, lora": _training("8b", ("peft",), seconds=45, **LORA_8B),
        "resume": _resume("135m", seconds=60),
        "1.5b": _training("1.5b", seconds=30),
        "1.5b, compiled": _training("1.5b", JIT, seconds=40, compile=True),
        "1.5b, float8": _training("1.5b", LOW_BIT, seconds=40, compile=True, precision="fp8"),
        "0.5b, padded": _training("500m", padded=True, seconds=20),
    }


def _small() -> dict[str, Part]:
    return {
        "paths": Part(do="paths", shape="small"),
        "first step, packed": _training("small"),
        "first step, padded": _training("small", padded=True),
        "low-bit": _training("small", ("torchao",), **FULL),
        "float8": _training("small", ("torchao",), precision="fp8"),
        "lora": _training("small", ("peft",), lora_rank=4),
        "resume": _resume("small", seconds=100),
        "trl": Part(do="trl", shape="small", needs=TRL),
    }


def _training(
    shape: str,
    needs: tuple[str, ...] = (),
    *,
    padded: bool = False,
    seconds: float = 50,
    **options: Any,
) -> Part:
    options = {"precision": "bf16", **options}
    return Part(
        do="train", shape=shape, needs=needs, padded=padded, seconds=seconds, options=options
    )


def _resume(shape: str, *, seconds: float) -> Part:
    """With a low-bit optimizer, or without one where that is not installed."""
    options = {"precision": "bf16", **(FULL if find_spec("torchao") else {})}
    return Part(do="resume", shape=shape, options=options, seconds=seconds)


def deadlines(parts: Mapping[str, Part]) -> dict[str, float]:
    """When each part is ended at the latest, in seconds from the beginning.

    However long others take, a part has its own share.
    """
    return dict(zip(parts, accumulate(part.seconds for part in parts.values()), strict=True))


def main() -> None:
    options = _options()
    if options.part:
        do(options, lambda found: print(json_text(found), flush=True))
        return
    began, results = time.perf_counter(), dict[str, Any]()
    measured = {**_machine(options.device), "date": str(date.today()), "parts": results}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        options.scratch = Path(scratch)
        shared = parts(options.small)
        for name, until in deadlines(shared).items():
            left = until - (time.perf_counter() - began)
            results[name] = _run(name, shared[name], options, left)
            print(name, json_text(results[name]), flush=True)
            measured["seconds"] = time.perf_counter() - began
            write_text(options.output, json_text(measured, indent=1) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--device", choices=["cuda", "cpu"], default="cuda")
    add("--small", action="store_true", help="tiny shapes, to try the script itself")
    add("--output", type=Path, default=Path("gpu.json"))
    add("--part", help=argparse.SUPPRESS)
    add("--scratch", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def do(options: argparse.Namespace, report: Report) -> None:
    """Run a part in this process."""
    os.environ["CPT_CACHE"] = str(options.scratch / "cache")
    part = parts(options.small)[options.part]
    WORK[part.do](part, _place(options), report)


def _place(options: argparse.Namespace) -> Place:
    scratch: Path = options.scratch
    output = scratch / "parts" / options.part
    return Place(device=options.device, small=options.small, scratch=scratch, output=output)


def _machine(kind: str) -> dict[str, Any]:
    """What is measured on; ends at once where there is no such device."""
    import torch
    import transformers

    if kind == "cuda" and not torch.cuda.is_available():
        raise SystemExit("gpu.py: torch finds no CUDA device; --device cpu --small runs anywhere")
    return {
        "device": torch.cuda.get_device_name() if kind == "cuda" else "cpu",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "missing": [name for name in (*TRL, *LOW_BIT, "peft") if find_spec(name) is None],
    }


def _run(name: str, part: Part, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """What a part reported last; where it failed or was left out, also why."""
    asked = {"shape": part.shape, "options": part.options}
    missing = [needed for needed in part.needs if find_spec(needed) is None]
    if missing:
        return {**asked, "left_out": f"not installed: {', '.join(missing)}"}
    line = [sys.executable, __file__, "--part", name, "--scratch", str(options.scratch)]
    line += ["--device", options.device, *(["--small"] if options.small else [])]
    status, out, err = _ended(line, seconds)
    found = {**asked, **_last_report(out)}
    if status == 0:
        return found
    why = f"not done after {seconds:.0f} s" if status is None else f"exit status {status}"
    return {**found, "failed": why, "said": err.strip().splitlines()[-LAST_LINES:]}


def _last_report(out: str) -> dict[str, Any]:
    """The last whole object in what a part printed; empty if there is none."""
    for line in reversed(out.splitlines()):
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    return {}


def _ended(line: Sequence[str], seconds: float) -> tuple[int | None, str, str]:
    """Exit status, None if it was ended with all that it started, and both streams."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        line, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    )
    try:
        out, err = process.communicate(timeout=seconds)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return (None, *process.communicate())


if __name__ == "__main__":
    main()
