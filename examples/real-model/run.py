"""The whole example in one command: the model, the prompts, every run, and a table of the scores.

    python examples/real-model/run.py --size small

Two runs go at once, each with one thread: on two cores that is faster than one run with both. What
they say is in a log beside each. `cpt` skips what is done, so the same command after a break goes
on where it was.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import fmean

import attrs

import cpt

HERE = Path(__file__).parent
PAIRERS = ("clair", "ladder")
FOLDER = Path("runs/real-model")
"""Where the YAML files look for the model and the prompts."""
SCORES = {
    "verifiable/instruction_strict": "instructions followed",
    "verifiable/prompt_strict": "prompts with all followed",
    "health/words": "words",
    "health/cut_off": "cut off",
    "health/kl": "KL from the model before, nats",
    "preference_accuracy/accuracy": "accuracy on held-out pairs",
    "preference_accuracy/chosen": "reward of the chosen",
    "preference_accuracy/rejected": "reward of the rejected",
}


@attrs.frozen
class Size:
    """How much is done."""

    prompts: int
    """Prompts to train on."""
    held_out: int
    """Prompts to measure on."""
    seeds: int
    tokens: int
    """Most tokens in an answer."""


SIZES = {"small": Size(24, 8, 1, 96), "full": Size(120, 40, 3, 128)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--size", choices=SIZES, default="full")
    for name in ("prompts", "held-out", "seeds", "tokens"):
        parser.add_argument(f"--{name}", type=int, help="instead of the size's own")
    parser.add_argument("--at-once", type=int, default=2, help="runs at a time [2]")
    given = vars(parser.parse_args())
    name, at_once = given.pop("size"), given.pop("at_once")
    changed = {key: value for key, value in given.items() if value is not None}
    made = FOLDER / "-".join([name, *(f"{key}{value}" for key, value in changed.items())])
    run(attrs.evolve(SIZES[name], **changed), made, at_once)


def run(size: Size, folder: Path, at_once: int) -> None:
    """Do all of it, and write the tables into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    python(HERE / "prepare.py", FOLDER / "smollm2")
    python(HERE / "prompts.py", FOLDER)
    with ThreadPoolExecutor(at_once) as pool:
        runs = [
            pool.submit(logged, folder / f"{pairer}-{seed}", command(pairer, size, seed))
            for seed in range(size.seeds)
            for pairer in PAIRERS
        ]
    for one in runs:
        one.result()
    text = "\n".join(
        line
        for pairer in PAIRERS
        for line in table(pairer, [folder / f"{pairer}-{seed}" for seed in range(size.seeds)])
    )
    (folder / "results.md").write_text(text + "\n", encoding="utf-8")
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    minutes = (spent.ru_utime + spent.ru_stime) / 60
    print(f"{text}\n\nCPU minutes of this call: {minutes:.0f}")


def command(pairer: str, size: Size, seed: int) -> Sequence[str | Path]:
    """A run of `cpt`, less its folder."""
    tokens = str(size.tokens)
    student = ["--pairer.student.seed", str(seed), "--pairer.student.max-tokens", tokens]
    rungs = [
        word
        for rung in range(3)
        for option, value in (("seed", str(seed)), ("max-tokens", tokens))
        for word in (f"--pairer.rungs.{rung}.{option}", value)
    ]
    return [
        *("-m", "cpt", "-p", str(HERE / "reviser.py"), "--config", HERE / f"{pairer}.yaml"),
        *("--limit", str(size.prompts), "--eval-limit", str(size.held_out)),
        *("--generator.max-tokens", tokens, "--seed", str(seed)),
        *(student if pairer == "clair" else rungs),
    ]


def python(*arguments: str | Path) -> None:
    """Run one, saying what; stop if it fails."""
    line = [str(argument) for argument in arguments]
    print("$ python", *line, flush=True)
    if status := subprocess.run([sys.executable, *line]).returncode:
        raise SystemExit(status)


def logged(output: Path, arguments: Sequence[str | Path]) -> None:
    """Run one into a folder, with a log beside it; stop if it fails."""
    log, began = output.with_suffix(".log"), time.monotonic()
    print(f"{output}: begun, see {log}", flush=True)
    with log.open("a", encoding="utf-8") as written:
        status = subprocess.run(
            [sys.executable, *map(str, arguments), "--output", str(output)],
            env={"OMP_NUM_THREADS": "1", **os.environ},
            stdout=written,
            stderr=written,
        ).returncode
    if status:
        raise SystemExit(f"{output}: exit status {status}, see {log}")
    print(f"{output}: done after {time.monotonic() - began:.0f} s", flush=True)


def table(title: str, runs: Sequence[Path]) -> Iterator[str]:
    """The mean over the runs of every score, and between which values they are."""
    scores = [cpt.open_run(run).scores for run in runs]
    models = list(scores[0])
    yield f"\n{title}, {len(runs)} seeds\n"
    yield f"| | {' | '.join(models)} |"
    yield "|---" * (len(models) + 1) + "|"
    for name, words in SCORES.items():
        yield f"| {words} | {' | '.join(cell(scores, model, name) for model in models)} |"
    yield ""
    for run in runs:
        stages = cpt.open_run(run).stages
        times = ", ".join(f"{name} {stage['seconds']:.0f} s" for name, stage in stages.items())
        yield f"- {run}: {times}"


def cell(scores: Sequence[object], model: str, name: str) -> str:
    """`0.50 (0.45 to 0.55)`; a hyphen where nothing was measured."""
    found = [run[model].get(name) for run in scores]  # type: ignore[index]
    values = [score.value for score in found if score is not None and score.value is not None]
    if not values:
        return "-"
    spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{fmean(values):.2f}{spread}"


if __name__ == "__main__":
    main()
