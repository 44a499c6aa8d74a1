"""Three sets of pairs of a real student, from prompts that other models have answered.

The student is SmolLM2-135M-Instruct, made ready by examples/real-model/prepare.py. `--ladder` is a
file of rows with `prompt` and `responses` by author; `--authors` are those, the strongest first.

- *on-policy judge*: two answers of the student, the better over the worse. The judge is a reward
  model, which is the student itself, trained by `bradley_terry` on the first author over the last,
  on the next `--lessons` prompts of the file.
- *stronger preferred*: the first author's answer over the student's.
- *ladder*: every author's over every weaker one's, the student below them all.

Each is a run folder with its report. Below the table of the sets: how the judge agrees with the
ladder, where it never learned, and how often the longer answer would have won.

    python benchmarks/real_pairs.py --ladder ladder.jsonl

With the same `--folder` it continues where it was. Other answers of a student: `--answers`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).parent.parent / "examples" / "real-model"
SETS = ("on-policy judge", "stronger preferred", "ladder")
COLUMNS = (
    *("set", "prompts", "pairs", "Jaccard", "edits", "length ratio", "longer chosen"),
    *("length AUC", "findings"),
)
MODEL = "smollm2"
SYSTEM = "Answer in at most three sentences."
TRAINED = ("--train.batch-size", "8", "--train.learning-rate", "2e-5", "--train.precision", "bf16")
ALLOWED = ("--train.allow", "length_tells")
"""A ladder's better answers are the longer ones; how far the judge learned just that is printed."""


def main() -> None:
    given = arguments()
    lines = given.ladder.read_text(encoding="utf-8").splitlines(keepends=True)
    prompts = written(given.folder / "prompts.jsonl", lines[: given.prompts])
    more = lines[given.prompts : given.prompts + given.lessons]
    lessons = written(given.folder / "lessons.jsonl", more)
    student = f"recorded:{given.answers or answered(prompts, given)}"
    rungs = [f"recorded:{prompts}#{author}" for author in given.authors]
    print(f"| {' | '.join(COLUMNS)} |")
    print("|---" * len(COLUMNS) + "|")
    for name in given.sets:
        words = ["--prompts", prompts, "--pairer", *pairer(name, student, rungs, lessons, given)]
        print(f"| {name} | {measured(name, words, given)} |", flush=True)
    if SETS[0] in given.sets:
        print(judged(prompts, lessons, given))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ladder", type=Path, required=True)
    names = ["gpt4", "gpt-3.5-turbo-0301", "text_davinci_003"]
    parser.add_argument("--authors", nargs="+", default=names, help="the strongest first")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument(
        "--lessons", type=int, default=64, help="prompts that the judge learns from"
    )
    parser.add_argument("--tokens", type=int, default=192, help="most tokens in an answer")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--answers", help="recorded answers of another student: FILE#AUTHOR")
    parser.add_argument("--folder", type=Path, default=Path("runs/real-pairs"))
    return parser.parse_args()


def written(path: Path, lines: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")
    return path


def model(given: argparse.Namespace) -> Path:
    """The folder of the student."""
    folder: Path = given.folder / MODEL
    subprocess.run([sys.executable, EXAMPLE / "prepare.py", folder], check=True, stdout=sys.stderr)
    return folder


def answered(prompts: Path, given: argparse.Namespace) -> str:
    """Two answers of the student to each prompt, which all sets share."""
    folder: Path = given.folder / "answers"
    sampling = {"temperature": 0.7, "max-tokens": given.tokens, "dtype": "bfloat16"}
    options = [word for name, value in sampling.items() for word in (f"--responder.{name}", value)]
    who = ("--responder", f"transformers:{model(given)}", "--responder.system", SYSTEM, *options)
    cpt("respond", "--prompts", prompts, "--samples", 2, *who, "--output", folder)
    return f"{folder / 'responses.parquet'}#{MODEL}"


def pairer(
    name: str, student: str, rungs: Sequence[str], lessons: Path, given: argparse.Namespace
) -> Sequence[object]:
    """The flags of a set's pairer."""
    if name == "on-policy judge":
        judge = f"reward_model:{reward(lessons, given)}"
        who = ("--pairer.responder", student, "--pairer.samples", 2)
        return ["rlaif", *who, "--pairer.judge", judge]
    if name == "stronger preferred":
        return ["stronger", "--pairer.stronger", rungs[0], "--pairer.student", student]
    return ["ladder", *(word for rung in (*rungs, student) for word in ("--pairer.rungs", rung))]


def reward(lessons: Path, given: argparse.Namespace) -> Path:
    """A reward model, trained on the first author over the last."""
    output: Path = given.folder / "reward"
    options = ["--loss", "bradley_terry", "--holdout", 0, *TRAINED, *ALLOWED]
    pairs = two_rungs("lessons", lessons, given)
    cpt("train", "--pairs", pairs, "--model", model(given), *options, "--output", output)
    return output / "model"


def two_rungs(name: str, prompts: Path, given: argparse.Namespace) -> Path:
    """The first author over the last."""
    output: Path = given.folder / name
    rungs = [f"recorded:{prompts}#{given.authors[place]}" for place in (0, -1)]
    words = [word for rung in rungs for word in ("--pairer.rungs", rung)]
    cpt("pair", "--prompts", prompts, "--pairer", "ladder", *words, "--output", output)
    return output


def measured(name: str, words: Sequence[object], given: argparse.Namespace) -> str:
    """A row of the table. Makes the pairs and their report."""
    output = given.folder / name.replace(" ", "-")
    cpt("pair", *words, "--output", output)
    found = cpt("doctor", output, statuses=(0, 2))
    contrast, by_kind = found["contrast"], found["findings"]
    outcomes = (output / "outcomes.jsonl").read_text(encoding="utf-8").splitlines()
    kept = sum(json.loads(line)["outcome"] == "kept" for line in outcomes)
    values = (
        *(kept, found["pairs"], f"{100 * contrast['jaccard']:.1f}"),
        *(f"{contrast['levenshtein']:.0f}", f"{contrast['length_ratio']:.2f}"),
        *(f"{contrast['longer_is_chosen']:.0%}", f"{contrast['length_auc']:.2f}"),
        ", ".join(f"{kind} {count}" for kind, count in by_kind.items()) or "none",
    )
    return " | ".join(map(str, values))


def judged(prompts: Path, lessons: Path, given: argparse.Namespace) -> str:
    """How the judge agrees with the ladder on prompts that it did not learn from."""
    judge = f"reward_model:{reward(lessons, given)}"
    pairs, output = two_rungs("held-out", prompts, given), given.folder / "judged"
    found = cpt("judge", pairs, "--judge", judge, "--output", output)
    return "\n".join(
        f"{name}: {found[name]}" for name in ("n", "agreement", "kappa", "longer_wins")
    )


def cpt(*words: object, statuses: Sequence[int] = (0,)) -> Mapping[str, Any]:
    """Run `cpt`, and give the JSON that it prints; stop if it fails."""
    line = [sys.executable, "-m", "cpt", *map(str, words), "--json"]
    done = subprocess.run(line, stdout=subprocess.PIPE, text=True)
    if done.returncode not in statuses:
        raise SystemExit(f"cpt {' '.join(line[3:])}: exit status {done.returncode}")
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
