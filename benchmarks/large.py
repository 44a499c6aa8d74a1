"""From a file of many pairs to the first step: seconds, CPU seconds, the largest process's memory.

    python benchmarks/large.py --rows 10000 100000 1000000
    python benchmarks/large.py --rows 100000 --loss dpo --scheduler curriculum

Pairs are short sums, no two alike; the model is tiny. `first` makes the pairs, prepares them and
takes a step; `again` is another training on the same pairs, which finds them prepared. Both are
ended at their first line of metrics. Linux only: memory is read from /proc.
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
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import attrs
import doctor
import material

from cpt.data import each_pair

TICKS = os.sysconf("SC_CLK_TCK")
POLL = 0.1
TIERS = 3


@attrs.define
class Process:
    """What was seen of a process."""

    memory: int = 0
    """The most that it held, kB."""
    cpu: float = 0.0
    """Seconds."""

    def look(self, number: int) -> None:
        try:
            status = Path(f"/proc/{number}/status").read_text().splitlines()
            times = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return
        kilobytes = (line.split()[1] for line in status if line.startswith("VmHWM"))
        self.memory = max(self.memory, *map(int, kilobytes), 0)
        self.cpu = (int(times[11]) + int(times[12])) / TICKS


def until_a_step(command: list[str], output: Path, env: Mapping[str, str]) -> str:
    """Seconds, CPU seconds and memory of a training, up to its first line of metrics."""
    seen: dict[int, Process] = {}
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=env) as process:
        while process.poll() is None and not (output / "metrics.jsonl").exists():
            for number in _tree(process.pid):
                seen.setdefault(number, Process()).look(number)
            time.sleep(POLL)
        wall = time.perf_counter() - begun
        if process.poll() is not None:
            raise SystemExit(f"ended with status {process.returncode}: {' '.join(command)}")
        process.send_signal(signal.SIGKILL)
    cpu = sum(one.cpu for one in seen.values())
    memory = max(one.memory for one in seen.values()) // 1024
    return f"{wall:.0f} s, {cpu:.0f} CPU s, largest process {memory} MB"


def _tree(number: int) -> Iterator[int]:
    """A process and all below it."""
    yield number
    try:
        tasks = list(Path(f"/proc/{number}/task").iterdir())
        below = [child for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return
    for child in below:
        yield from _tree(int(child))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--loss", default="simpo")
    parser.add_argument("--scheduler", default="shuffle")
    parser.add_argument("--folder", help="where everything is written; a temporary one by default")
    options = parser.parse_args()
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
            _measure(rows, options, Path(scratch))


def _measure(rows: int, options: argparse.Namespace, folder: Path) -> None:
    source, model = folder / "pairs.jsonl", folder / "model"
    with source.open("w", encoding="utf-8") as file:
        for number, row in enumerate(islice(doctor.short(), rows)):
            file.write(json.dumps(row | {"tier": number % TIERS + 1}) + "\n")
    material.make_tokenizer(islice(each_pair(source), 1000), 2_000, model)
    material.make_model("small", model)
    env = os.environ | {"CPT_CACHE": str(folder / "cache")}
    for turn, beta in (("first", "2.0"), ("again", "2.5")):
        output = folder / turn
        command = [sys.executable, "-m", "cpt", "train", "--pairs", str(source), "--output"]
        command += [str(output), "--model", str(model), "--loss", options.loss]
        command += ["--scheduler", options.scheduler, "--loss.beta", beta, "--train.log-every", "1"]
        command += ["--train.device", "cpu", "--train.allow", "length_tells"]
        print(f"{rows} pairs, {turn}: {until_a_step(command, output, env)}", flush=True)


if __name__ == "__main__":
    main()
