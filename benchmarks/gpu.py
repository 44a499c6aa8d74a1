"""Every path of a GPU against the plain one, then speed and memory, in under eight minutes.

    python benchmarks/gpu.py --output gpu.json
    python benchmarks/gpu.py --device cpu --small --output dry.json    # the same on any machine

Weights and pairs are random, so nothing is downloaded. On a machine without a network, what is
missing is installed from wheels that were made on another one, and this folder is copied to it:

    pip wheel --no-deps --wheel-dir wheels .
    pip download --no-deps --dest wheels torchao peft trl
    pip install --no-index --no-deps wheels/*.whl

Each part (`gpu_exact.py`, `gpu_speed.py`) is a process of its own: one that fails or takes too long
is recorded as such, with the last that it told, and the others continue; one whose libraries are
missing is left out. Each has a share of the time, and what the parts before it have left; the most
telling come first. The output is written after every part. TMPDIR needs about 8 GB. Speed is that
of a training through `cpt.training.train`, references computed before; MFU as others count it
(`mfu`) and of what is needed (`mfu_exact`); `waits` counts by line where one step waits for the
device. TRL is run beside it with its best flags.
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
from gpu_parts import Part, Place, Tell

from cpt.files import json_text, write_text

WORK: Mapping[str, Callable[[Part, Place, Tell], None]] = {
    "paths": gpu_exact.paths,
    "resume": gpu_exact.resume,
    "train": gpu_speed.train,
    "trl": gpu_speed.trl,
}
BUDGET = 460.0
"""Seconds for all parts together, which divide them: less than eight minutes, as ending one that
hangs takes a few as well."""
OPTIONAL = ("torchao", "trl", "peft", "triton")
"""Libraries without which parts are left out, or do less."""
LAST_LINES = 12
"""Of what a part that failed said to its standard error."""
BF16 = {"precision": "bf16"}
FLOAT8 = {"precision": "fp8"}
FULL = {**BF16, "weights": "bf16", "optimizer": "adamw_8bit"}
LORA_8B = {**BF16, "weights": "bf16", "lora_rank": 16, "gradient_checkpointing": True}


def parts(small: bool) -> dict[str, Part]:
    """Everything, the most telling first; together no more than the budget."""
    resumed = FULL if find_spec("torchao") else BF16
    if small:
        return {
            "paths": Part(do="paths", shape="small"),
            "first step, packed": Part(do="train", shape="small", options=BF16),
            "first step, padded": Part(do="train", shape="small", options=BF16, padded=True),
            "low-bit": Part(do="train", shape="small", options=FULL, needs=("torchao",)),
            "float8": Part(do="train", shape="small", options=FLOAT8, needs=("torchao",)),
            "lora": Part(
                do="train", shape="small", options={**BF16, "lora_rank": 4}, needs=("peft",)
            ),
            "resume": Part(do="resume", shape="small", options=resumed, seconds=100),
            "trl": Part(do="trl", shape="small", needs=("trl",)),
        }
    full_8b = {**FULL, "gradient_checkpointing": True}
    compiled, float8 = {**BF16, "compile": True}, {**FLOAT8, "compile": True}
    low_bit, jit = ("torchao", "triton"), ("triton",)
    return {
        "paths": Part(do="paths", shape="135m", seconds=60),
        "0.5b": Part(do="train", shape="500m", options=BF16, seconds=30),
        "8b, full": Part(do="train", shape="8b", options=full_8b, needs=low_bit, seconds=80),
        "trl": Part(do="trl", shape="500m", needs=("trl",), seconds=55),
        "8b, lora": Part(do="train", shape="8b", options=LORA_8B, needs=("peft",), seconds=45),
        "resume": Part(do="resume", shape="135m", options=resumed, seconds=60),
        "1.5b": Part(do="train", shape="1.5b", options=BF16, seconds=30),
        "1.5b, compiled": Part(do="train", shape="1.5b", options=compiled, needs=jit, seconds=40),
        "1.5b, float8": Part(do="train", shape="1.5b", options=float8, needs=low_bit, seconds=40),
        "0.5b, padded": Part(do="train", shape="500m", options=BF16, padded=True, seconds=20),
    }


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


def do(options: argparse.Namespace, tell: Tell) -> None:
    """Run a part in this process."""
    os.environ["CPT_CACHE"] = str(options.scratch / "cache")
    part = parts(options.small)[options.part]
    WORK[part.do](part, _place(options), tell)


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
        "missing": [name for name in OPTIONAL if find_spec(name) is None],
    }


def _run(name: str, part: Part, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """What a part told last; where it failed or was left out, also why."""
    asked = {"shape": part.shape, "options": part.options}
    missing = [needed for needed in part.needs if find_spec(needed) is None]
    if missing:
        return {**asked, "left_out": f"not installed: {', '.join(missing)}"}
    line = [sys.executable, __file__, "--part", name, "--scratch", str(options.scratch)]
    line += ["--device", options.device, *(["--small"] if options.small else [])]
    status, out, err = _ended(line, seconds)
    told = {**asked, **_last_told(out)}
    if status == 0:
        return told
    why = f"not done after {seconds:.0f} s" if status is None else f"exit status {status}"
    return {**told, "failed": why, "said": err.strip().splitlines()[-LAST_LINES:]}


def _last_told(out: str) -> dict[str, Any]:
    """The last whole object in what a part printed; empty if there is none."""
    for line in reversed(out.splitlines()):
        with suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict):
                return told
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
