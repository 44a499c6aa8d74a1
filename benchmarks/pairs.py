"""Every pairer, judge and filter in the lab, on the same prompts, with the checker as truth.

For each set of pairs: how many prompts have one; requests that were kept in the journal and their
tokens, by prompt; how many labels the checker finds right and wrong (the rest are ties to it), how
far apart it finds the two sides, how contrastive they are (arXiv 2408.06266: Jaccard of the sets of
words times 100, higher is more alike; character edit distance) and their lengths.

- The pairers that need a judge have the checker itself, so their labels are right by construction.
- Each judge labels two samples of the student. `reward_model` is trained here by `bradley_terry` on
  a ladder of four times as many other prompts (`lab:dev`). `llm` and `pairwise` ask `--grader`:
  without it a stand-in (`grader.py`), which is no model. `verifiable` checks that the right words
  are in the answer. `recorded` has what `llm` said of the pairs that the checker made.
- Each filter works on one base set: all pairs of four samples, labelled by that reward model. The
  checkpoint of `active` and `difficulty` is trained by `dpo` on the same ladder. The flags are the
  checker's, on every second pair.

    python benchmarks/pairs.py --limit 100
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from statistics import fmean

import cpt
from cpt_lab.checker import credit
from cpt_lab.world import read

GRADER = Path(__file__).with_name("grader.py")
RUNGS = ("middle", "weak")


def rungs(option: str) -> list[str]:
    """The flags that make the lower rungs of the lab the responders of an option."""
    flags = [word for name in RUNGS for word in (f"--{option}", rung(name))]
    tokens = [
        word for place in range(len(RUNGS)) for word in (f"--{option}.{place}.max-tokens", "48")
    ]
    return flags + tokens


def rung(name: str) -> str:
    return f"transformers:lab:{{size}}care/{name}"


PAIRERS: Mapping[str, Sequence[str]] = {
    "CLAIR": ["clair"],
    "on-policy judge, 2 samples": ["rlaif", "--pairer.samples", "2"],
    "off-policy judge": ["judged", *rungs("pairer.responders")],
    "stronger preferred": ["stronger"],
    "ladder, all rungs": ["ladder"],
    "delta learning": ["ladder", *rungs("pairer.rungs")],
    "on-policy judge, 4 samples": ["rlaif"],
    "the same, best_random": ["rlaif", "--pairer.rule", "best_random"],
    "the same, largest_gap": ["rlaif", "--pairer.rule", "largest_gap"],
    "the same, max_vs_mean_minus_2sd": ["rlaif", "--pairer.rule", "max_vs_mean_minus_2sd"],
    "the same, all_pairs": ["rlaif", "--pairer.rule", "all_pairs"],
    "best of 8": ["best_of_n"],
}
JUDGES: Mapping[str, Sequence[str]] = {
    "checker": [f"checker:{GRADER}:credited"],
    "reward_model": ["reward_model:{reward}"],
    "llm": ["llm", "--pairer.judge.responder", "{grader}"],
    "pairwise": ["pairwise", "--pairer.judge.responder", "{grader}"],
    "ensemble": [
        *("ensemble", "--pairer.judge.judges", "reward_model:{reward}"),
        *("--pairer.judge.judges", "llm", "--pairer.judge.judges.1.responder", "{grader}"),
        *("--pairer.judge.judges", "pairwise", "--pairer.judge.judges.2.responder", "{grader}"),
    ],
    "recorded": ["recorded:{recorded}"],
    "verifiable": ["verifiable", "--prompts", "{instructed}"],
}
FILTERS: Mapping[str, Sequence[str]] = {
    "duplicates": ["duplicates"],
    "length_ratio": ["length_ratio", "--filters.most", "1.5"],
    "length_balance": ["length_balance", "--filters.share", "0.5"],
    "score_range": ["score_range", "--filters.chosen-min", "0"],
    "margin_range": ["margin_range", "--filters.min", "0.5"],
    "decontaminate": ["decontaminate:lab:{size}test", "--filters.n", "4"],
    "language": ["language:en"],
    "refusals": ["refusals", "--filters.sides", "either"],
    "balance": ["balance"],
    "flags": ["flags:{flags}"],
    "active": ["active:{checkpoint}", "--filters.reference", "lab:{size}policy"],
    "difficulty": [
        *("difficulty:reward_gap", "--filters.model", "{checkpoint}"),
        *("--filters.reference", "lab:{size}policy"),
    ],
}
TWO_SAMPLES = ("--pairer", "rlaif", "--pairer.samples", "2", "--pairer.judge")
SETS: Mapping[str, Sequence[str]] = {
    **{name: ("--pairer", *words) for name, words in PAIRERS.items()},
    **{f"judge {name}": (*TWO_SAMPLES, *words) for name, words in JUDGES.items()},
    "base set": ("--pairs", "{base}"),
    **{
        f"filter {name}": ("--pairs", "{base}", "--filters", *words)
        for name, words in FILTERS.items()
    },
}

COLUMNS = (
    *("set", "prompts", "requests", "tokens", "pairs", "right", "wrong"),
    *("gap", "Jaccard", "edits", "lengths"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=100, help="prompts of the lab")
    parser.add_argument("--preset", default="lab", help="lab, or lab_tiny for a look")
    parser.add_argument("--grader", default="grader", help="the responder that judges are asked of")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    given = parser.parse_args()
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(
            folder=folder,
            preset=given.preset,
            size="tiny/" if given.preset == "lab_tiny" else "",
            limit=str(given.limit),
            grader=given.grader,
        )
        for name in given.sets:
            print(f"| {name} | {measured(desk, name)} |", flush=True)


class Desk(dict[str, str]):
    """What flags name in braces. What some of them need is made once, when it is first named."""

    def __missing__(self, name: str) -> str:
        self[name] = str(MAKERS[name](self))
        return self[name]

    def cpt(self, command: str, *words: str, output: str) -> Path:
        """Run `cpt`, in the preset where it has one, and give its output folder."""
        path = Path(self["folder"]) / output
        preset = [] if command == "judge" else ["--preset", self["preset"]]
        line = [word.format_map(self) for word in (*preset, *words, "--output", str(path))]
        start = [sys.executable, "-m", "cpt", "-p", str(GRADER), command]
        done = subprocess.run([*start, *line, "--json"], capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"cpt {command} {' '.join(line)}\n{done.stderr}")
        return path


def lessons(desk: Desk) -> Path:
    """A ladder of other prompts, for what is trained here."""
    words = ("--prompts", "lab:{size}dev", "--limit", str(4 * int(desk["limit"])))
    return desk.cpt("pair", *words, "--pairer", "ladder", output="lessons")


def trained(desk: Desk, loss: str) -> Path:
    words = ("--pairs", "{lessons}", "--loss", loss, "--train.epochs", "3")
    return desk.cpt("train", *words, output=loss) / "model"


def base(desk: Desk) -> Path:
    words = ("--limit", "{limit}", "--pairer", "rlaif", "--pairer.rule", "all_pairs")
    return desk.cpt("pair", *words, "--pairer.judge", "reward_model:{reward}", output="base")


def recorded(desk: Desk) -> Path:
    """What the judge `llm` says of pairs that the checker made."""
    made = desk.cpt("pair", "--limit", "{limit}", *PAIRED_BY_CHECKER, output="to record")
    words = (str(made), "--judge", "llm", "--judge.responder", "{grader}")
    return desk.cpt("judge", *words, output="recorded") / "judgements.jsonl"


PAIRED_BY_CHECKER = ("--pairer", *PAIRERS["on-policy judge, 2 samples"])


def instructed(desk: Desk) -> Path:
    """Prompts with an instruction that IFEval's rules can check: use the right words."""
    rows = [
        {
            "id": prompt.id,
            "prompt": prompt.text,
            "instruction_id_list": ["keywords:existence"],
            "kwargs": [{"keywords": list(task.found.values())}],
        }
        for prompt in islice(cpt.read_prompts(f"lab:{desk['size']}train"), int(desk["limit"]))
        if (task := read(prompt.text))
    ]
    return written(desk, "instructed.jsonl", rows)


def flags(desk: Desk) -> Path:
    """What a person who is always right would say of every second pair."""
    rows = [
        {"pair_id": pair.id, "flag": "keep" if gap(pair) > 0 else "swap" if gap(pair) else "drop"}
        for pair in islice(cpt.read_pairs(desk["base"]), 0, None, 2)
    ]
    return written(desk, "flags.jsonl", rows)


def written(desk: Desk, name: str, rows: Sequence[Mapping[str, object]]) -> Path:
    path = Path(desk["folder"]) / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


MAKERS: Mapping[str, Callable[[Desk], Path]] = {
    "lessons": lessons,
    "reward": lambda desk: trained(desk, "bradley_terry"),
    "checkpoint": lambda desk: trained(desk, "dpo"),
    "base": base,
    "recorded": recorded,
    "instructed": instructed,
    "flags": flags,
}


def measured(desk: Desk, name: str) -> str:
    """The cells of one set."""
    words = SETS[name]
    limit = () if "--pairs" in words else ("--limit", "{limit}")
    run = desk.cpt("pair", *limit, *words, output=name)
    pairs, count = list(cpt.read_pairs(run)), int(desk["limit"])
    prompts = len({pair.prompt.id for pair in pairs})
    return " | ".join([f"{prompts / count:.0%}", *costs(run, count), *contrasts(pairs)])


def costs(run: Path, prompts: int) -> list[str]:
    """Requests in the run's journal and their tokens, by prompt."""
    import sqlite3

    if not (run / "journal.sqlite").exists():
        return ["0", "0"]
    with sqlite3.connect(run / "journal.sqlite") as journal:
        (requests, tokens) = journal.execute(
            "SELECT count(*), total(input_tokens + output_tokens) FROM answers"
        ).fetchone()
    return [f"{requests / prompts:.1f}", f"{tokens / prompts:.0f}"]


def contrasts(pairs: Sequence[cpt.Pair]) -> list[str]:
    """What the pairs are like."""
    from rapidfuzz.distance import Levenshtein

    sides = [(pair.chosen.text, pair.rejected.text) for pair in pairs]
    gaps = [gap(pair) for pair in pairs]
    words = [(set(chosen.split()), set(rejected.split())) for chosen, rejected in sides]
    return [
        str(len(pairs)),
        f"{fmean(one > 0 for one in gaps):.0%}",
        f"{fmean(one < 0 for one in gaps):.0%}",
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
