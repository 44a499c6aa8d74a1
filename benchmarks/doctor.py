"""Pairs through `cpt doctor`: seconds, CPU seconds, and the most memory of all its processes.

    python benchmarks/doctor.py --rows 10000 100000 1000000
    python benchmarks/doctor.py --pairs ladder.jsonl --rows 10000 100000 --model MODEL

Without `--pairs` the pairs are short sums, no two alike; with it they are those of a ladder's file,
repeated under other names. Linux only: memory is read from /proc.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

POLL = 0.2
PAGE = os.sysconf("SC_PAGE_SIZE")


def short() -> Iterator[dict[str, str]]:
    """Sums with a right and a wrong answer, without end."""
    number = 0
    while True:
        asked = f"What is {number} and {number % 97}? Say how you know."
        right, wrong = number + number % 97, number + number % 89 + 1
        yield {
            "prompt": asked,
            "chosen": f"I add {number % 97} to {number} in my head. It is {right}.",
            "rejected": f"I would guess, as nobody can know. Perhaps {wrong}?",
        }
        number += 1


def long(path: Path, authors: list[str]) -> Iterator[dict[str, str]]:
    """The answers of two authors of a ladder's file, numbered, without end."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["responses"][authors[0]] != row["responses"][authors[1]]]
    turn = 0
    while True:
        for row in rows:
            chosen, rejected = (f"{turn}. {row['responses'][author]}" for author in authors)
            yield {"prompt": f"{turn}. {row['prompt']}", "chosen": chosen, "rejected": rejected}
        turn += 1


def measured(command: list[str]) -> tuple[float, float, int, int]:
    """Seconds, CPU seconds, the most MB of the command and its children, and its status."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        most = 0
        while process.poll() is None:
            most = max(most, _memory(process.pid))
            time.sleep(POLL)
    after, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - begun
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, most >> 20, process.returncode


def _memory(process: int) -> int:
    """Bytes that a process and its children hold; what they share is counted for each."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        tasks = Path(f"/proc/{process}/task").iterdir()
        children = [child for task in tasks for child in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * PAGE + sum(_memory(int(child)) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, help="jsonl: a ladder's rows")
    parser.add_argument("--authors", nargs=2, default=["gpt4", "text_davinci_003"])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--model", help="a folder whose tokenizer makes tokens of the pairs")
    options = parser.parse_args()
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / "pairs.jsonl"
            made = long(options.pairs, options.authors) if options.pairs else short()
            with source.open("w", encoding="utf-8") as file:
                file.writelines(json.dumps(row) + "\n" for row in islice(made, rows))
            command = [sys.executable, "-m", "cpt", "doctor", str(source), "--json"]
            model = ["--model", options.model] if options.model else []
            wall, cpu, memory, status = measured([*command, *model])
        print(f"{rows} pairs: {wall:.0f} s, {cpu:.0f} CPU s, {memory} MB, exit status {status}")


if __name__ == "__main__":
    main()
