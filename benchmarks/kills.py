"""A training in the lab that is killed again and again, beside one that is not: the same weights?

    python benchmarks/kills.py --schedulers staged weak_to_strong

Each process ends by SIGKILL at a random moment: in a step, while a checkpoint is written, before
the first one or after the last. The next process continues; after the last kill one is left in
peace. One that comes to its end before it is killed is compared, and the training begins again.
Compared with the unbroken training: weights and order to the byte, metrics to the last digit; exit
status 1 if anything differs. Flags that are not listed are those of `cpt train`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

os.environ.setdefault("OMP_NUM_THREADS", "1")  # more only wait for each other on such a model

from cpt.cli import main as cpt_main
from cpt.models import torchao
from cpt.training.loss.metrics import TIMING, read

LOADED = ("cpt.training", "cpt_lab.recipes", "cpt_transformers", "transformers.generation.utils")
MODELS = ("transformers.models.auto.modeling_auto", "transformers.models.llama.modeling_llama")
"""What a process has imported as it begins, so that more of its life is training."""
LOSS: Mapping[str, str] = {"weak_to_strong": "sft", "curri_dpo": "dpo", "self_paced": "dpo"}
"""Of schedulers that want one; the lab's own for the others."""
TRAIN = {"batch-size": 4, "checkpoint-every": 5, "log-every": 1, "device": "cpu"}


@attrs.frozen
class Lab:
    """A folder where commands run, each as a fork of this process."""

    folder: Path

    def run(self, *words: str) -> str:
        """What `cpt WORDS` says."""
        return self.lived(*words, seconds=None) or ""

    def lived(self, *words: str, seconds: float | None) -> str | None:
        """The same; None if it was killed, after so many seconds."""
        process = multiprocessing.get_context("fork").Process(target=self._become, args=(words,))
        process.start()
        process.join(seconds)
        process.kill()  # nothing, if it has ended
        process.join()
        if process.exitcode not in (0, -signal.SIGKILL):
            said = (self.folder / "err").read_text()
            raise SystemExit(f"cpt {' '.join(words)}: exit status {process.exitcode}\n{said}")
        return None if process.exitcode else (self.folder / "out").read_text()

    def _become(self, words: Sequence[str]) -> None:
        os.chdir(self.folder)
        for name, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        cpt_main(list(words))


@attrs.frozen
class Training:
    """A training with one scheduler, once whole and once killed."""

    lab: Lab
    scheduler: str
    flags: Sequence[str]

    @property
    def whole(self) -> Path:
        return self.lab.folder / f"{self.scheduler}-whole"

    @property
    def killed(self) -> Path:
        return self.lab.folder / f"{self.scheduler}-killed"

    def line(self, output: Path, epochs: int = 1) -> list[str]:
        """Its command line."""
        given = ["--preset", "lab_tiny", "--pairs", "pairs", "--scheduler", self.scheduler]
        loss = ["--loss", LOSS[self.scheduler]] if self.scheduler in LOSS else []
        options = {**TRAIN, "epochs": epochs}
        train = [word for name in options for word in (f"--train.{name}", str(options[name]))]
        return ["train", *given, *loss, *train, *self.flags, "--output", str(output)]

    def epochs(self, steps: int) -> int:
        """As many as so many steps take."""
        said = self.lab.run(*self.line(self.whole), "--dry-run", "--json")
        return math.ceil(steps / json.loads(said)["steps"])

    def differences(self) -> set[str]:
        """What is not as in the unbroken training."""
        logged = {"metrics.jsonl"} if _logged(self.killed) != _logged(self.whole) else set()
        return logged | {
            name
            for name in ("model/model.safetensors", "order.parquet")
            if (self.killed / name).read_bytes() != (self.whole / name).read_bytes()
        }


def _logged(output: Path) -> list[dict[str, Any]]:
    """The lines of metrics, without what a clock measured."""
    lines = read(output / "metrics.jsonl")
    return [{name: one for name, one in line.items() if name not in TIMING} for line in lines]


def measure(training: Training, options: argparse.Namespace) -> dict[str, Any]:
    """Kill a training as often as is asked for; what came of it."""
    epochs = training.epochs(options.steps)
    began = time.perf_counter()
    training.lab.run(*training.line(training.killed, epochs), "--dry-run")
    start = time.perf_counter() - began
    training.lab.run(*training.line(training.whole, epochs))
    work = time.perf_counter() - began - 2 * start
    life = start + max(work, 0.0) / options.kills
    found = _kill(training, training.line(training.killed, epochs), life, options)
    steps = read(training.whole / "metrics.jsonl")[-1]["step"]
    return {"scheduler": training.scheduler, "steps": steps, **found}


def _kill(
    training: Training, line: Sequence[str], life: float, options: argparse.Namespace
) -> dict[str, Any]:
    """`life` is the mean of the seconds that a process has."""
    chance, killed, ended = random.Random(options.seed), list[dict[str, int]](), 1
    differences = set[str]()
    while len(killed) < options.kills:
        if training.lab.lived(*line, seconds=chance.uniform(0, 2 * life)) is None:
            killed.append(_left(training.killed / "checkpoints"))
            continue
        ended += 1
        differences |= training.differences()
        shutil.rmtree(training.killed)
    training.lab.run(*line)
    return {
        "kills": len(killed),
        "trainings": ended,
        "at": [left["step"] for left in killed],
        "while saving": sum(left["unfinished"] for left in killed),
        "differences": sorted(differences | training.differences()),
    }


def _left(checkpoints: Path) -> dict[str, int]:
    """The last step that was saved, and how many were about to be."""
    steps = [int(path.name.removeprefix("step-")) for path in checkpoints.glob("step-*")]
    return {"step": max(steps, default=0), "unfinished": len(list(checkpoints.glob(".step-*")))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--schedulers", nargs="+", default=["staged", "weak_to_strong"])
    parser.add_argument("--kills", type=int, default=30, help="of each training")
    parser.add_argument("--steps", type=int, default=200, help="at least so many")
    parser.add_argument("--prompts", type=int, default=60, help="of the lab, for the pairs")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options, flags = parser.parse_known_args()
    torchao.hide()  # as `cpt` does
    for name in (*LOADED, *MODELS):
        importlib.import_module(name)
    with tempfile.TemporaryDirectory() as scratch:
        raise SystemExit(not _report(Lab(Path(scratch)), options, flags))


def _report(lab: Lab, options: argparse.Namespace, flags: Sequence[str]) -> bool:
    """Print a line for each scheduler; whether nothing differs."""
    ladder = ["--preset", "lab_tiny", "--pairer", "ladder", "--limit", str(options.prompts)]
    lab.run("pair", *ladder, "--output", "pairs")
    different = False
    for scheduler in options.schedulers:
        found = measure(Training(lab, scheduler, flags), options)
        print(json.dumps(found), flush=True)
        different |= bool(found["differences"])
    return not different


if __name__ == "__main__":
    main()
