"""Steps of a small network under settings of OpenMP: alone, beside a busy loop, two at a time."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "GOMP_SPINCOUNT=10000": {"GOMP_SPINCOUNT": "10000"},
    "the same, OMP_PROC_BIND=true": {"GOMP_SPINCOUNT": "10000", "OMP_PROC_BIND": "true"},
    "OMP_WAIT_POLICY=passive": {"OMP_WAIT_POLICY": "passive"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each measurement")
    parser.add_argument("--widths", type=int, nargs="+", default=[512, 128])
    parser.add_argument("--step", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        print(median_step(given.step, given.seconds))
        return
    print("| width | setting | alone | beside a busy loop | two at a time | load |")
    print("|---|---|---|---|---|---|")
    for width in given.widths:
        for name, setting in SETTINGS.items():
            alone = measured(setting, width, given.seconds)
            with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
                beside = measured(setting, width, given.seconds)
                busy.kill()
            two = measured(setting, width, given.seconds, count=2)
            load = f"{os.getloadavg()[0]:.0f}"
            print(f"| {width} | {name} | {alone} | {beside} | {two} | {load} |", flush=True)


def measured(setting: Mapping[str, str], width: int, seconds: float, count: int = 1) -> str:
    """Median milliseconds of a step in each of `count` processes at a time."""
    command = [sys.executable, __file__, "--step", str(width), "--seconds", str(seconds)]
    environment = {**os.environ, **setting}
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    return " and ".join(f"{float(process.communicate()[0]):.0f}" for process in started)


def median_step(width: int, seconds: float) -> float:
    """Milliseconds of a forward and a backward pass through eight layers."""
    import torch

    layers = [torch.randn(width, width, requires_grad=True) for _ in range(8)]
    rows = torch.randn(256, width)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 4:
        began = time.perf_counter()
        hidden = rows
        for layer in layers:
            hidden = torch.nn.functional.gelu(hidden @ layer.t() / width**0.5)
        hidden.square().mean().backward()
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times[3:])


if __name__ == "__main__":
    main()
