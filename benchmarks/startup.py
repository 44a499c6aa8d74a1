"""CPU seconds of the command line's start, beside the interpreter's and the libraries'.

python benchmarks/startup.py [--rounds 15]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

CPT = str(Path(sys.executable).with_name("cpt"))
LIBRARIES = "its libraries"
LINES = {
    "python -c pass": [sys.executable, "-c", "pass"],
    LIBRARIES: [sys.executable, "-c", "import click, pluggy, attrs, yaml"],
    "python -c 'import cpt'": [sys.executable, "-c", "import cpt"],
    "cpt --help": [CPT, "--help"],
    "cpt --pairer clair --loss apo_zero --help": [
        *(CPT, "--pairer", "clair", "--loss", "apo_zero", "--help")
    ],
    "cpt plugins": [CPT, "plugins"],
}


def cpu_seconds(command: list[str]) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    taken: dict[str, list[float]] = {name: [] for name in LINES}
    for _ in range(rounds + 1):  # the first round warms the caches
        for name, command in LINES.items():
            taken[name].append(cpu_seconds(command))
    print(f"CPU seconds: median (least to most) of {rounds} alternating rounds")
    for name, seconds in taken.items():
        kept = seconds[1:]
        print(f"{statistics.median(kept):.2f} ({min(kept):.2f} to {max(kept):.2f})  {name}")
    help_, libraries = (statistics.median(taken[name][1:]) for name in ("cpt --help", LIBRARIES))
    print(f"cpt --help takes {help_ / libraries:.1f} times as long as importing its libraries")


if __name__ == "__main__":
    main()
