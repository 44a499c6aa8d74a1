"""What asking costs, and what it survives, against a server on this machine.

    python benchmarks/asking.py                    CPU a row and rows/s, bare loops beside it
    python benchmarks/asking.py --memory           peak memory at 1,000 to 100,000 rows
    python benchmarks/asking.py --storm            a provider capped at 100 requests a second
    python benchmarks/asking.py --faults           10,000 requests through every fault
    python benchmarks/asking.py --faults --kills 25    the same, killed 25 times

Every line is a process of its own, all in turn; CPU is that process's, start-up included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import attrs

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from faulty import CAPS, FAULTS, Faulty, faulty  # noqa: E402
from respond import Command, write_prompts  # noqa: E402

from cpt.asking.journal.queries import status  # noqa: E402

WIRES = {"server": "/v1", "openai": "/v1", "anthropic": ""}
BESIDE = {
    "server": ("bare aiohttp", "cpt server"),
    "openai": ("bare openai", "cpt openai", "bare openai-httpx"),
    "anthropic": ("bare anthropic", "cpt anthropic", "bare anthropic-httpx"),
}
"""What is measured in turn. An SDK's default transport is httpx; we hand it aiohttp's."""


@attrs.frozen
class Outcome:
    """How one process went."""

    said: Any
    seconds: float
    cpu: float
    megabytes: float

    @classmethod
    def of(cls, line: list[str]) -> Outcome:
        began = time.perf_counter()
        process = start(line)
        assert process.stdout
        said = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"{' '.join(line)}: exit status {process.returncode}")
        seconds = time.perf_counter() - began
        cpu = used.ru_utime + used.ru_stime
        return cls(json.loads(said), seconds, cpu, used.ru_maxrss / 1024)


def start(line: list[str]) -> subprocess.Popen[str]:
    keys = {"OPENAI_API_KEY": "none-at-all", "ANTHROPIC_API_KEY": "none-at-all"}
    return subprocess.Popen(
        [sys.executable, *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **keys},
    )


def respond(
    kind: str, server: Faulty, prompts: Path, output: Path, at_once: int, timeout: float = 60.0
) -> list[str]:
    """The command line that asks all prompts."""
    line = ["-m", "cpt", "respond", "--json", "--prompts", str(prompts), "--output", str(output)]
    line += ["--responder", f"{kind}:m", "--responder.base-url", server.url + WIRES[kind]]
    return [*line, "--responder.concurrency", str(at_once), "--responder.timeout", str(timeout)]


def bare(kind: str, server: Faulty, prompts: Path, at_once: int) -> list[str]:
    return [str(HERE / "bare.py"), kind, server.url, str(prompts), str(at_once)]


def cost(options: argparse.Namespace, folder: Path) -> None:
    """CPU a row, ours beside the bare loops."""
    prompts = write_prompts(folder, options.rows)
    names = [name for kind in options.responders for name in BESIDE[kind]]
    taken: dict[str, list[Outcome]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            who, _, kind = name.partition(" ")
            with faulty(latency=0.2) as server:
                line = bare(kind, server, prompts, options.at_once)
                if who == "cpt":
                    output = folder / f"{kind}-{number}"
                    line = respond(kind, server, prompts, output, options.at_once)
                taken[name].append(Outcome.of(line))
    rows = options.rows
    print(f"{rows} rows, 0.2 s latency, {options.at_once} in flight; best of {options.rounds}")
    for name, processes in taken.items():
        cpu = min(1000 * process.cpu / rows for process in processes)
        speed = max(rows / process.seconds for process in processes)
        memory = max(process.megabytes for process in processes)
        print(f"{name:20} {cpu:6.2f} ms CPU/row {speed:6.0f} rows/s {memory:5.0f} MB at most")


def memory(options: argparse.Namespace, folder: Path) -> None:
    for kind, rows in product(options.responders, options.rows):
        with faulty(latency=0.01) as server:
            prompts = write_prompts(folder, rows)
            output = folder / f"{kind}-{rows}"
            done = Outcome.of(respond(kind, server, prompts, output, options.at_once))
        print(f"{kind}, {rows} rows: {done.megabytes:.0f} MB at most")


def storm(options: argparse.Namespace, folder: Path) -> None:
    prompts = write_prompts(folder, options.rows)
    for cap in CAPS:
        settings = {"latency": 0.2, "cap": 100, "kind": cap, "retry_after": 1.0}
        with faulty(**settings) as server:
            done = Outcome.of(respond("server", server, prompts, folder / cap, options.at_once))
            ledger = server.ledger()
        answered, asked = (sum(ledger[name].values()) for name in ("answered", "received"))
        took = ledger["last"] - ledger["first"]
        print(
            f"{cap}: {took:.1f} s from the first request to the last answer, "
            f"{asked - answered} of {asked} calls wasted, {done.said['outcomes']}, "
            f"{ledger['early']} came back too soon; {done.seconds:.1f} s with start-up"
        )


def faults(options: argparse.Namespace, folder: Path) -> None:
    """Through every fault, and killed as often as wanted."""
    for kind in options.responders:
        prompts = write_prompts(folder, options.rows)
        with faulty(faults=FAULTS, retry_after=1.0, latency=0.05) as server:
            line = respond(kind, server, prompts, folder / kind, options.at_once, timeout=2.0)
            settled: dict[str, int] = {}
            in_flight = 0
            for kill in kills(options):
                in_flight += killed(line, server, kill, folder / kind, settled)
            done = Outcome.of(line)
            ledger = server.ledger()
        answered = ledger["answered"]
        again = sum(ledger["received"][asked] - times for asked, times in settled.items())
        twice = sum(answered.values()) - len(answered)
        print(f"{kind}: {done.said['outcomes']} of {options.rows}, {done.seconds:.0f} s")
        print(f"    delivered answers lost: {options.rows - len(answered)}")
        print(f"    journaled when killed: {len(settled)}; of these asked again: {again}")
        print(f"    in flight at {options.kills} kills: {in_flight}; answered again: {twice}")
        print(f"    came back too soon: {ledger['early']}; happened: {ledger['happened']}")


def kills(options: argparse.Namespace) -> Iterator[float]:
    """After how many answers each."""
    rng = random.Random(options.seed)
    yield from sorted(rng.random() * options.rows * 0.98 for _ in range(options.kills))


def killed(
    line: list[str], server: Faulty, after: float, output: Path, settled: dict[str, int]
) -> int:
    """Run until so many answers, then SIGKILL; how many requests that caught in flight.

    Adds to `settled` how often each prompt was asked that the journal answers from now on.
    """
    process = start(line)
    while process.poll() is None and sum(server.ledger()["answered"].values()) < after:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    received = server.ledger()["received"]
    kept = Command(Path(), "", output).journaled()
    settled |= {asked: received[asked] for asked in kept - settled.keys()}
    journal = output / "journal.sqlite"
    return len(status(journal).doubtful) if kept else 0


ROWS: dict[Any, list[int]] = {
    cost: [20_000],
    memory: [1_000, 10_000, 100_000],
    storm: [1_000],
    faults: [10_000],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group()
    for measure in (memory, storm, faults):
        flag = f"--{measure.__name__}"
        what.add_argument(flag, dest="what", action="store_const", const=measure, default=cost)
    parser.add_argument("--rows", type=int, nargs="+", help="several with --memory only")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--at-once", type=int, help="in flight: 256, or 64 with --faults")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--responders", nargs="+", default=list(WIRES), choices=list(WIRES))
    options = parser.parse_args()
    options.rows = options.rows or ROWS[options.what]
    if options.what is not memory:
        (options.rows,) = options.rows
    options.at_once = options.at_once or (64 if options.what is faults else 256)
    with tempfile.TemporaryDirectory() as folder:
        options.what(options, Path(folder))


if __name__ == "__main__":
    main()
