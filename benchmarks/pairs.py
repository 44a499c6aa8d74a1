"""Every way to make pairs in the lab, on the same prompts, with the checker as truth.

For each set of pairs: how many prompts gave one, answers that were asked for by prompt, how many
labels the checker agrees with, how far apart it finds the two sides, how contrastive they are
(arXiv 2408.06266: Jaccard of the sets of words times 100, higher is more alike; character edit
distance) and their lengths. A judged set is labelled by the checker itself, so its labels are right
by construction.

    python benchmarks/pairs.py --limit 500
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import cpt
from cpt_lab.checker import credit
from cpt_lab.world import read

STUDENT, RUNGS = "policy", ("care/strong", "care/middle", "care/weak")


def model(address: str, name: str) -> list[str]:
    """The flags that make a model of the lab a responder."""
    return [f"--{address}", f"transformers:lab:{name}", f"--{address}.max-tokens", "48"]


def models(address: str, names: Sequence[str]) -> list[str]:
    """The same for several models of one option."""
    flags = [word for name in names for word in (f"--{address}", f"transformers:lab:{name}")]
    tokens = [
        word for place in range(len(names)) for word in (f"--{address}.{place}.max-tokens", "48")
    ]
    return flags + tokens


SETS: Mapping[str, Sequence[str]] = {
    "CLAIR": ["clair"],
    "on-policy judge, 2 samples": ["rlaif", "--pairer.samples", "2"],
    "off-policy judge": ["judged", *models("pairer.responders", RUNGS[1:])],
    "stronger preferred": ["stronger"],
    "ladder, all rungs": ["ladder"],
    "delta learning": ["ladder", *models("pairer.rungs", RUNGS[1:])],
    "on-policy judge, 4 samples": ["rlaif"],
    "the same, best_random": ["rlaif", "--pairer.rule", "best_random"],
    "the same, largest_gap": ["rlaif", "--pairer.rule", "largest_gap"],
    "the same, max_vs_mean_minus_2sd": ["rlaif", "--pairer.rule", "max_vs_mean_minus_2sd"],
    "the same, all_pairs": ["rlaif", "--pairer.rule", "all_pairs"],
    "best of 8": ["best_of_n"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=500, help="prompts of the lab")
    parser.add_argument("--preset", default="lab", help="lab, or lab_tiny for a look")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    given = parser.parse_args()
    print("| set | kept | asked | pairs | right | gap | Jaccard | edits | length ratio |")
    print("|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.sets:
            cells = measured(Path(folder) / name, SETS[name], given.preset, given.limit)
            print(f"| {name} | {cells} |", flush=True)


def measured(run: Path, flags: Sequence[str], preset: str, limit: int) -> str:
    """The cells of one set."""
    line = ["pair", "--preset", preset, "--limit", str(limit), "--output", str(run), "--json"]
    command = [sys.executable, "-m", "cpt", *line, "--pairer", *flags]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    outcomes = json.loads(done.stdout)["stages"]["pairs"]["outcomes"]
    cells = [f"{outcomes.get('kept', 0) / limit:.0%}", f"{asked(run) / limit:.1f}"]
    return " | ".join([*cells, *contrasts(cpt.read_pairs(run))])


def asked(run: Path) -> int:
    """Answers in the run's journal."""
    import sqlite3

    with sqlite3.connect(run / "journal.sqlite") as journal:
        (count,) = journal.execute("SELECT count(*) FROM answers").fetchone()
    return int(count)


def contrasts(pairs: Sequence[cpt.Pair]) -> list[str]:
    """What the pairs are like."""
    from rapidfuzz.distance import Levenshtein

    sides = [(pair.chosen.text, pair.rejected.text) for pair in pairs]
    gaps = [gap(pair) for pair in pairs]
    words = [(set(chosen.split()), set(rejected.split())) for chosen, rejected in sides]
    return [
        str(len(pairs)),
        f"{fmean(one > 0 for one in gaps):.0%}",
        f"{fmean(gaps):.2f}",
        f"{100 * fmean(len(one & other) / len(one | other) for one, other in words):.0f}",
        f"{fmean(Levenshtein.distance(*texts) for texts in sides):.1f}",
        f"{fmean(len(chosen) / len(rejected) for chosen, rejected in sides):.2f}",
    ]


def gap(pair: cpt.Pair) -> float:
    """The checker's credit of the chosen side less that of the rejected one."""
    task = read(pair.prompt.text)
    assert task is not None
    return credit(task, pair.chosen.text) - credit(task, pair.rejected.text)


if __name__ == "__main__":
    main()
