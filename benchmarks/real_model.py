"""A real model trained on 200 ladder pairs, measured before and after.

The model is SmolLM2-135M-Instruct, made ready by examples/real-model/prepare.py. Unless `--pairs`
and `--held-out` name others, the pairs are of one's own: prompts of examples/real-model, answered
by the model itself at three temperatures, the coolest preferred; tiers 2 and 1. Measured: accuracy
on held-out pairs by tier, log-probability of each side, length of sampled answers, instructions
followed; and what `--dry-run` estimated beside what the training took.

    python benchmarks/real_model.py --output real_model.json

All weights are trained; `--methods full lora` trains adapters as well. With the same `--folder` it
continues where it was, and what is measured so far is in `--output` after each method.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from itertools import groupby, islice
from pathlib import Path
from statistics import fmean
from typing import Any

import attrs

import cpt
from cpt.data.pairs import write_pairs
from cpt.files import write_text
from cpt.likelihood import Reading, log_probabilities

EXAMPLE = Path(__file__).parent.parent / "examples" / "real-model"
INPUTS = Path("runs/real-model")
"""Where the YAML files of the example look for the model and the prompts."""
METHODS = {
    "full": ["--train.learning-rate", "1e-5"],
    "lora": ["--train.lora-rank", "16", "--train.learning-rate", "1e-4"],
}
READING = Reading(precision="bf16")
"""As the example trains."""
SCORES = ("verifiable/", "health/", "preference_accuracy/")


@attrs.frozen
class Took:
    """What one command took."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    printed: str = attrs.field(repr=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("real_model.json"))
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark-real-model"))
    parser.add_argument("--train", type=int, default=200, help="pairs to train on")
    parser.add_argument("--prompts", type=int, default=110, help="prompts for these pairs")
    parser.add_argument("--measured", type=int, default=40, help="held-out prompts")
    parser.add_argument("--tokens", type=int, default=96, help="most tokens in an answer")
    parser.add_argument("--methods", nargs="+", default=["full"], choices=METHODS)
    parser.add_argument("--pairs", help="other pairs to train on: anything that cpt reads")
    parser.add_argument("--held-out", help="other pairs to measure on")
    given = parser.parse_args()
    began = time.time()
    prepare()
    train = chosen(given.pairs or ladder("train", given.prompts, given), given.train, given)
    held_out = Path(given.held_out or ladder("held_out", given.measured, given))
    result = {
        "load": os.getloadavg()[0],
        "cores": os.cpu_count(),
        "versions": {name: version(name) for name in ("torch", "transformers")},
        "model": "SmolLM2-135M-Instruct",
        "trained_pairs": by_tier(cpt.read_pairs(train)),
        "held_out_pairs": by_tier(cpt.read_pairs(held_out)),
        "log_probabilities_before": sides(held_out, INPUTS / "smollm2"),
        "methods": {},
    }
    for name in given.methods:
        result["methods"][name] = method(name, train, held_out, given)
        result["seconds"] = round(time.time() - began)
        write_text(given.output, json.dumps(result, indent=1))
    print(json.dumps(result, indent=1))


def prepare() -> None:
    for script, folder in (("prepare.py", INPUTS / "smollm2"), ("prompts.py", INPUTS)):
        subprocess.run([sys.executable, EXAMPLE / script, folder], check=True)


def ladder(prompts: str, limit: int, given: argparse.Namespace) -> Path:
    """The run folder with the pairs of some prompts."""
    output: Path = given.folder / f"pairs-{prompts}"
    tokens = [
        word
        for rung in range(3)
        for word in (f"--pairer.rungs.{rung}.max-tokens", str(given.tokens))
    ]
    cpt_run(
        *("pair", "--prompts", INPUTS / f"{prompts}.jsonl", "--limit", limit, *tokens),
        *("--config", EXAMPLE / "ladder.yaml", "--output", output),
    )
    return output


def chosen(source: str | Path, count: int, given: argparse.Namespace) -> Path:
    """A file with the first so many pairs."""
    found = list(islice(cpt.read_pairs(source), count))
    if len(found) < count:
        print(f"There are only {len(found)} pairs; more --prompts may give more.", flush=True)
    file: Path = given.folder / "train.parquet"
    write_pairs(file, found)
    return file


def method(name: str, train: Path, held_out: Path, given: argparse.Namespace) -> Mapping[str, Any]:
    """Train in one way; what was estimated, what it took, and every score before and after."""
    output = given.folder / name
    options = [
        *("--config", EXAMPLE / "ladder.yaml", "--pairs", train, "--output", output),
        *("--holdout", "0", *METHODS[name]),
    ]
    estimate = json.loads(cpt_run("train", *options, "--dry-run", "--json").printed)
    took = cpt_run("train", *options)
    cpt_run(
        *("eval", "--output", output, "--eval-pairs", held_out, "--eval-limit", given.measured),
        *("--eval-prompts", INPUTS / "held_out.jsonl", "--generator.max-tokens", given.tokens),
    )
    run = cpt.open_run(output)
    return {
        "estimate": estimate,
        "took": attrs.asdict(took, filter=lambda field, _: field.name != "printed"),
        "training_seconds": run.stages["model"]["seconds"],
        "log_probabilities_after": sides(held_out, output / "model"),
        "scores": scores(run.scores),
    }


def sides(pairs: Path, model: Path) -> Mapping[str, float]:
    """The mean log-probability of either side, in nats an answer."""
    found = log_probabilities(list(cpt.read_pairs(pairs)), model, READING).values()
    values = [one for one in found if not isinstance(one, cpt.Missing)]
    return {
        "chosen": fmean(one.chosen for one in values),
        "rejected": fmean(one.rejected for one in values),
        "pairs": len(values),
    }


def scores(found: Mapping[str, Mapping[str, cpt.Score]]) -> Mapping[str, Any]:
    """Value and interval of each score, by model."""
    return {
        model: {
            name: [score.value, score.low, score.high]
            for name, score in of.items()
            if name.startswith(SCORES)
        }
        for model, of in found.items()
    }


def by_tier(pairs: Iterable[cpt.Pair]) -> Mapping[str, int]:
    tiers = sorted(str(pair.tier) for pair in pairs)
    return {tier: len(list(same)) for tier, same in groupby(tiers)}


def cpt_run(*arguments: object) -> Took:
    """Run `cpt`; stop if it fails."""
    line: Sequence[str] = [sys.executable, "-m", "cpt", *map(str, arguments)]
    print("$", *line[1:], flush=True)
    began = time.time()
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        printed = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(process.returncode)
    cpu = usage.ru_utime + usage.ru_stime
    return Took(round(time.time() - began, 1), round(cpu, 1), usage.ru_maxrss * 1024, printed)


if __name__ == "__main__":
    main()
