"""Run the experiments in this folder, and write what they measured to docs/papers/results.md.

    python examples/papers/run.py --quick              # two seeds and fewer prompts: 10 minutes
    python examples/papers/run.py                      # five seeds, a lab of each: 72 minutes
    python examples/papers/run.py --only curriculum    # the experiments of one claim
    python examples/papers/run.py --quick --seeds 5    # more seeds of the quick form

`claims.yaml` lists the steps and the claims. Every step is a `cpt` command in the folder of its
seed, with a configuration that this script writes there: the one of this folder, with the seed at
all places and the size of the form. What is done is skipped, so the same command goes on after it
was stopped. The minutes are those of two cores, two seeds at once: 16 and 86 of CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import yaml

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "papers" / "results.md"


@attrs.frozen
class Form:
    """How large the experiments are."""

    name: str
    seeds: tuple[int, ...]
    lab: str
    """What `lab:` becomes: another size, or a lab of each `{seed}`."""
    larger: str
    """The same for steps with a larger model."""
    limit: int
    """Prompts that pairs are made of."""
    eval_limit: int
    """Prompts that models are measured on."""


@attrs.frozen
class Plan:
    """What `claims.yaml` says."""

    forms: Mapping[str, Form]
    steps: Mapping[str, Mapping[str, Any]]
    claims: Mapping[str, Mapping[str, Any]]

    def steps_of(self, claim: str) -> Iterator[str]:
        """What a claim needs, in order."""
        rows = self.claims[claim]["rows"].values()
        wanted = {row.partition("/")[0] for row in rows}
        while more := {need for step in wanted for need in self.steps[step].get("after", ())}:
            if more <= wanted:
                break
            wanted |= more
        return (step for step in self.steps if step in wanted)


def read_plan() -> Plan:
    plain = yaml.safe_load((HERE / "claims.yaml").read_text())
    forms = {
        name: Form(name=name, **{**form, "seeds": tuple(form["seeds"])})
        for name, form in plain["forms"].items()
    }
    return Plan(forms, plain["steps"], plain["claims"])


def configuration(step: Mapping[str, Any], form: Form, seed: int) -> dict[str, Any]:
    """The configuration of a step for one seed."""
    lab = form.larger if step.get("larger") else form.lab
    config: dict[str, Any] = seeded(yaml.safe_load((HERE / step["config"]).read_text()), lab, seed)
    if "prompts" in config:
        config["limit"] = form.limit
    if "eval_prompts" in config:
        config["eval_limit"] = form.eval_limit
    return config | {key: step[key] for key in ("pairs",) if key in step}


def seeded(value: Any, lab: str, seed: int) -> Any:
    """The same value, with this seed in all that draws and this lab."""
    if isinstance(value, list):
        return [seeded(one, lab, seed) for one in value]
    if isinstance(value, dict):
        value = {key: seeded(one, lab, seed) for key, one in value.items()}
        draws = "seed" in value or value.get("name") in ("transformers", "lab_reviser")
        return value | ({"seed": seed} if draws else {})
    if isinstance(value, str) and value.startswith("lab:"):
        return lab.format(seed=seed) + value.removeprefix("lab:")
    return value


@attrs.frozen
class Desk:
    """The folder of one seed, where its steps run."""

    folder: Path
    form: Form
    seed: int

    def do(self, name: str, step: Mapping[str, Any]) -> None:
        """Do a step unless it is done. Raises `CalledProcessError`."""
        asked = json.dumps([dict(step), self._config(step)], sort_keys=True)
        note = self.folder / f"{name}.done"
        if note.exists() and json.loads(note.read_text())["asked"] == asked:
            return
        began, own = time.time(), time.thread_time()
        print(f"seed {self.seed}: {name}", file=sys.stderr, flush=True)
        cpu = (self._cut if "cut" in step else self._call)(name, step)
        cpu += time.thread_time() - own
        done = {"asked": asked, "began": began, "seconds": time.time() - began, "cpu": cpu}
        note.write_text(json.dumps(done))

    def _config(self, step: Mapping[str, Any]) -> dict[str, Any]:
        return configuration(step, self.form, self.seed) if "config" in step else {}

    def _call(self, name: str, step: Mapping[str, Any]) -> float:
        """Run `cpt`: with a configuration into a folder with a log beside it, or for a JSON.

        Returns its CPU seconds.
        """
        if "config" not in step:
            return self._run(name, ".json", step["command"], *step["arguments"], "--json")
        (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(self._config(step)))
        return self._run(name, ".log", step["command"], "--config", f"{name}.yaml", "--redo")

    def _run(self, name: str, suffix: str, *arguments: str) -> float:
        where = [] if arguments[0] == "doctor" else ["--output", name]
        with (self.folder / f"{name}{suffix}").open("w") as output:
            return cpu_of(
                [sys.executable, "-m", "cpt", *arguments, *where],
                cwd=self.folder,
                env={"OMP_NUM_THREADS": "1", **os.environ},
                stdout=output,
                stderr=None if suffix == ".json" else subprocess.STDOUT,
            )

    def _cut(self, name: str, step: Mapping[str, Any]) -> float:
        """The same number of pairs of each of several sets: the first ones, or a share of them."""
        from pyarrow import parquet

        tables = {
            one: parquet.read_table(self.folder / one / "pairs.parquet") for one in step["cut"]
        }
        count = int(min(map(len, tables.values())) * step.get("share", 1))
        (self.folder / name).mkdir(exist_ok=True)
        for one, table in tables.items():
            parquet.write_table(table.slice(0, count), self.folder / name / f"{one}.parquet")
        return 0.0


def cpu_of(command: list[str], **options: Any) -> float:
    """Run a command; the CPU seconds of it and of its children. Raises `CalledProcessError`."""
    with subprocess.Popen(command, **options) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_utime + usage.ru_stime


def run_seed(plan: Plan, form: Form, seed: int, claims: Iterable[str], root: Path) -> None:
    """Everything that these claims need, for one seed; after a failure only the rest of it."""
    desk = Desk(root / form.name / f"seed-{seed}", form, seed)
    desk.folder.mkdir(parents=True, exist_ok=True)
    for claim in claims:
        for name in plan.steps_of(claim):
            desk.do(name, plan.steps[name])


def turned(claims: Sequence[str], number: int) -> Sequence[str]:
    """The claims in the order of one seed: while it trains a lab that seeds share, others go on."""
    first = number * len(claims) // 2 % len(claims)
    return [*claims[first:], *claims[:first]]


def main() -> None:
    plan = read_plan()
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="two seeds and fewer prompts")
    parser.add_argument("--form", choices=plan.forms, help="another form of claims.yaml")
    parser.add_argument("--seeds", type=int, help="so many, from 0; else those of the form")
    parser.add_argument("--only", action="append", choices=plan.claims, help="claim; repeat it")
    parser.add_argument("--at-once", type=int, default=2, help="seeds that run at once [2]")
    parser.add_argument("--output", type=Path, default=Path("runs/papers"), help="[runs/papers]")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page to write")
    parser.add_argument("--page-only", action="store_true", help="run nothing; write the page")
    given = parser.parse_args()
    form = plan.forms[given.form or ("quick" if given.quick else "whole")]
    if given.seeds:
        form = attrs.evolve(form, seeds=tuple(range(given.seeds)))
    claims = given.only or list(plan.claims)
    if not given.page_only:
        with ThreadPoolExecutor(given.at_once) as pool:
            doing = [
                pool.submit(run_seed, plan, form, seed, turned(claims, number), given.output)
                for number, seed in enumerate(form.seeds)
            ]
        for one in doing:
            one.result()
    from page import write_page

    write_page(plan, form, given.output / form.name, given.page)


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{' '.join(map(str, error.cmd))}: exit status {error.returncode}; see its log")
