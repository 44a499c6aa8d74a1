"""Every path of a GPU against the plain one, then speed and memory, in under eight minutes.

    python benchmarks/gpu.py --output gpu.json
    python benchmarks/gpu.py --device cpu --small --output dry.json    # the same on any machine

Weights and pairs are random, so nothing is downloaded. Each part is a process of its own: one that
fails or takes too long is recorded as such, with the steps that it logged, and the others continue.
Each has a share of the time, and what the parts before it have left; the most telling come first.
The output is written after every part. TMPDIR needs about 40 GB for the largest shape. Speed is
that of a training through `cpt.training.train`, references computed before; MFU as others count it
(`mfu`) and of what is needed (`mfu_exact`). TRL is run beside it with its best flags where it is
installed.
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
from contextlib import nullcontext, suppress
from datetime import date
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

import attrs
import material

from cpt.files import atomic_folder, json_text, write_text

BUDGET = 460.0
"""Seconds for all parts together, which divide them: less than eight minutes, as ending one that
hangs takes a few as well."""
LN_2 = 0.693147
OPTIONAL = ("torchao", "trl", "peft", "triton")
"""Libraries without which parts fail or are left out."""
FULL = {"precision": "bf16", "weights": "bf16", "optimizer": "adamw_8bit"}
FULL_8B = {**FULL, "gradient_checkpointing": True}


@attrs.frozen(kw_only=True)
class Part:
    """One process: what it does, on which shape, with which options of `train`."""

    do: str
    shape: str
    options: Mapping[str, Any] = attrs.field(factory=dict)
    padded: bool = False
    """Whether rows are padded, as where a model cannot be packed."""
    seconds: float = 60.0
    """Its share of the budget. What the parts before it have left of theirs comes on top."""


def deadlines(parts: Mapping[str, Part]) -> dict[str, float]:
    """When each part is ended at the latest, in seconds from the beginning.

    However long others take, a part has its own share.
    """
    return dict(zip(parts, accumulate(part.seconds for part in parts.values()), strict=True))


def parts(small: bool) -> dict[str, Part]:
    """Everything, the most telling first; together no more than the budget."""
    if small:
        bf16 = {"precision": "bf16"}
        return {
            "paths": Part(do="paths", shape="small", seconds=100),
            "first step, packed": Part(do="train", shape="small", options=bf16),
            "first step, padded": Part(do="train", shape="small", options=bf16, padded=True),
            "low-bit": Part(do="train", shape="small", options=FULL),
            "lora": Part(do="train", shape="small", options={"lora_rank": 4, **bf16}),
            "resume": Part(do="resume", shape="small", options=FULL),
            "trl": Part(do="trl", shape="small"),
        }
    bf16 = {"precision": "bf16"}
    compiled = {**bf16, "compile": True}
    lora = {**bf16, "weights": "bf16", "lora_rank": 16, "gradient_checkpointing": True}
    return {
        "paths": Part(do="paths", shape="135m", seconds=60),
        "0.5b": Part(do="train", shape="500m", options=bf16, seconds=35),
        "8b, full": Part(do="train", shape="8b", options=FULL_8B, seconds=105),
        "trl": Part(do="trl", shape="500m", seconds=55),
        "8b, lora": Part(do="train", shape="8b", options=lora, seconds=65),
        "resume": Part(do="resume", shape="135m", options=FULL, seconds=30),
        "1.5b": Part(do="train", shape="1.5b", options=bf16, seconds=40),
        "0.5b, compiled": Part(do="train", shape="500m", options=compiled, seconds=40),
        "0.5b, padded": Part(do="train", shape="500m", options=bf16, padded=True, seconds=30),
    }


def main() -> None:
    options = _options()
    if options.part:
        print(json_text(_do(options)))
        return
    began, results = time.perf_counter(), dict[str, Any]()
    measured = {**_machine(options.device), "date": str(date.today()), "parts": results}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        shared = parts(options.small)
        for name, until in deadlines(shared).items():
            left = until - (time.perf_counter() - began)
            results[name] = _run(name, shared[name], options, Path(scratch), left)
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


def _machine(kind: str) -> dict[str, Any]:
    """What is measured on; ends at once where there is no such device."""
    import torch

    if kind == "cuda" and not torch.cuda.is_available():
        raise SystemExit("gpu.py: torch finds no CUDA device; --device cpu --small runs anywhere")
    return {
        "device": torch.cuda.get_device_name() if kind == "cuda" else "cpu",
        "torch": torch.__version__,
        "missing": [name for name in OPTIONAL if find_spec(name) is None],
    }


def _run(
    name: str, part: Part, options: argparse.Namespace, scratch: Path, seconds: float
) -> dict[str, Any]:
    """What a part says, or why it says nothing."""
    line = [sys.executable, __file__, "--part", name, "--scratch", str(scratch)]
    line += ["--device", options.device, *(["--small"] if options.small else [])]
    status, out, err = _ended(line, seconds)
    if status == 0:
        with suppress(ValueError, IndexError):
            return dict(json.loads(out.splitlines()[-1]))
    why = f"not done after {seconds:.0f} s" if status is None else f"exit status {status}"
    logged = metrics_of(scratch / part.do / name) if part.do == "train" else []
    return {"failed": why, "said": err.strip().splitlines()[-3:], **_speed(logged)}


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


def _do(options: argparse.Namespace) -> dict[str, Any]:
    part = parts(options.small)[options.part]
    os.environ["CPT_CACHE"] = str(options.scratch / "cache")
    work: dict[str, Callable[..., dict[str, Any]]]
    work = {"paths": _paths, "train": _train, "resume": _resume, "trl": _trl}
    return work[part.do](part, options, _model(part, options))


def _model(part: Part, options: argparse.Namespace) -> Path:
    """The folder of a shape, made by the first part that wants it."""
    folder: Path = options.scratch / part.shape
    if not folder.exists():
        with atomic_folder(folder) as made:
            material.make_model(part.shape, made, device=options.device, half=part.shape == "8b")
            vocabulary = min(material.MODELS[part.shape]["vocab_size"], 8000)
            material.make_tokenizer(material.invented(50), vocabulary, made)
    if options.device == "cuda":
        _forget_peak()
    return folder


def _forget_peak() -> None:
    """What making a model took is not what training it takes."""
    import torch

    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()


def _pairs(options: argparse.Namespace) -> list[Any]:
    return material.invented(12 if options.small else 128, words=12 if options.small else 200)


def _train(part: Part, options: argparse.Namespace, model: Path) -> dict[str, Any]:
    """A few steps: tokens a second, MFU, most memory, the first loss; no model is written."""
    import torch

    began, output = time.perf_counter(), options.scratch / part.do / options.part
    with _padding() if part.padded else nullcontext(), suppress(InterruptedError):
        _trained(part, options, model, output, stop=("cpt_metrics_logged", _last_step(options)))
    peak = torch.cuda.max_memory_allocated() if options.device == "cuda" else _rss()
    seconds = time.perf_counter() - began
    return {**_speed(metrics_of(output)), "memory": peak, "seconds": seconds}


def _last_step(options: argparse.Namespace) -> int:
    """After which nothing is left but to write the model."""
    return len(_pairs(options)) // _batch(options)


def _batch(options: argparse.Namespace) -> int:
    return 4 if options.small else 32


def metrics_of(output: Path) -> list[dict[str, Any]]:
    """The lines of a training that has begun."""
    from cpt.training.loss import metrics

    log = output / "metrics.jsonl"
    return metrics.read(log) if log.exists() else []


def _speed(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The first loss, and means over the steps behind the first."""
    if not lines:
        return {}
    counted = lines[1:] or lines  # the first has kernels to choose and to compile
    logged = {
        name: sum(line[name] for line in counted) / len(counted) for name in _logged(lines[0])
    }
    first = lines[0]["loss"]
    right = abs(first - LN_2) < 1e-5
    return {"first_loss": first, "first_loss_is_ln_2": right, **logged, "steps": len(lines)}


def _padding() -> Any:
    """Inside it no model is packed."""
    from unittest.mock import patch

    from cpt.training.data.packing import Layout

    return patch("cpt.training.forward.logps.find_layout", lambda *_: Layout())


def _logged(line: Mapping[str, float]) -> list[str]:
    return [name for name in ("tokens_per_second", "mfu", "mfu_exact", "padding") if name in line]


def _rss() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _trained(
    part: Part,
    options: argparse.Namespace,
    model: Path,
    output: Path,
    stop: tuple[str, int] | None = None,
) -> list[dict[str, Any]]:
    """The lines of its log; `stop` is the event of a step that `InterruptedError` ends it at."""
    from trainers import Sequential

    from cpt.training import train
    from cpt.training.options import Training
    from cpt_dpo import Dpo

    def notify(event: str, /, **facts: Any) -> None:
        if (event, facts.get("step")) == stop:
            raise InterruptedError

    train(
        _pairs(options),
        model=model,
        scheduler=Sequential(),
        loss=Dpo(),
        options=Training(
            batch_size=_batch(options),
            log_every=1,
            checkpoint_every=2 if part.do == "resume" else 0,
            warmup=0.0,
            device="cpu" if options.device == "cpu" else "auto",
            **part.options,
        ),
        seed=0,
        output=output,
        notify=notify,
    )
    return metrics_of(output)


def _resume(part: Part, options: argparse.Namespace, model: Path) -> dict[str, Any]:
    """A training that was ended and taken up, against one that was not."""
    whole = _trained(part, options, model, options.scratch / "whole")
    with suppress(InterruptedError):
        _trained(part, options, model, options.scratch / "broken", stop=("cpt_step_ended", 2))
    resumed = _trained(part, options, model, options.scratch / "broken")
    off = [abs(a["loss"] - b["loss"]) for a, b in zip(whole, resumed, strict=True)]
    return {"steps": len(whole), "largest_difference": max(off)}


def _paths(part: Part, options: argparse.Namespace, model: Path) -> dict[str, Any]:
    """Log-probabilities and gradients of each path in bf16, against padded rows in fp32."""
    import torch

    from cpt.training.data.packing import Layout
    from cpt.training.forward.loading.model import compile_layers, load_model
    from cpt.training.forward.logps import SequenceLogps

    module = SequenceLogps(load_model(model).to(options.device))
    groups = _groups(options, model)
    shared, exact = module.layout, _computed(module, groups, Layout(), options, half=False)
    apart = attrs.evolve(shared, shared=False)
    layouts = {"padded": Layout(), "packed": apart, "packed, prompts shared": shared}
    if options.device == "cuda":
        layouts["packed, compiled"] = shared
    measured: dict[str, Any] = {}
    for name, layout in layouts.items():
        try:
            if name == "packed, compiled":
                compile_layers(module.causal)
            measured[name] = _compared(_computed(module, groups, layout, options), exact)
        except Exception as error:  # the other paths are worth their figures
            measured[name] = {"failed": f"{type(error).__name__}: {error}"[:500]}
    if options.device == "cuda":
        measured["memory"] = torch.cuda.max_memory_allocated()
    return measured


def _groups(options: argparse.Namespace, model: Path) -> list[Any]:
    """Both sequences of some pairs."""
    from cpt.models import load_tokenizer
    from cpt.training.data.prepare import prepare
    from cpt.training.options import Training

    vocabulary = material.MODELS[model.name]["vocab_size"]
    corpus, _ = prepare(_pairs(options)[:6], load_tokenizer(model), Training(), vocabulary)
    sides = zip(corpus.chosen, corpus.rejected, strict=True)
    return [[corpus.sequences[side] for side in pair] for pair in sides]


def _computed(
    module: Any, groups: list[Any], layout: Any, options: argparse.Namespace, half: bool = True
) -> tuple[Any, Any]:
    """Log-probabilities in the order of the groups, and the gradient of their sum."""
    import torch

    from cpt.training.data.packing import model_inputs

    module.zero_grad()
    by_group: dict[int, Any] = {}
    for inputs in model_inputs(groups, 4096, layout):
        with torch.autocast(options.device, torch.bfloat16, enabled=half):
            flat = module(inputs.to(options.device))
        flat.sum().backward()
        pieces = iter(torch.split(flat.detach().float(), list(inputs.lengths)))
        for group in inputs.groups:
            by_group[group] = torch.cat([next(pieces) for _ in groups[group]])
    gradients = [
        parameter.grad.flatten() for parameter in module.parameters() if parameter.grad is not None
    ]
    return torch.cat([by_group[group] for group in range(len(groups))]), torch.cat(gradients)


def _compared(found: tuple[Any, Any], exact: tuple[Any, Any]) -> dict[str, float]:
    """Mean difference of a log-probability in nats, relative error of the gradient."""
    logps = (found[0] - exact[0]).abs().mean()
    gradient = (found[1] - exact[1]).norm() / exact[1].norm()
    return {"logps": float(logps), "gradient": float(gradient)}


def _trl(part: Part, options: argparse.Namespace, model: Path) -> dict[str, Any]:
    """`benchmarks/training.py`: both trainers step by step in turn, TRL with its best flags."""
    if find_spec("trl") is None:
        return {"skipped": "trl is not installed"}
    pairs = options.scratch / "pairs.jsonl"
    rows = [
        {
            "prompt": pair.prompt.messages[0].content,
            "revision": pair.chosen.text,
            "rejected": pair.rejected.text,
        }
        for pair in _pairs(options)
    ]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    line = [sys.executable, str(Path(__file__).with_name("training.py")), "--pairs", str(pairs)]
    line += ["--model", part.shape, "--device", options.device, "--precision", "bf16"]
    line += ["--flags", "best", "--steps", "3", "--batch", "4" if options.small else "16"]
    line += ["--max-length", "2048"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    return {"said": done.stdout.splitlines()}


if __name__ == "__main__":
    main()
