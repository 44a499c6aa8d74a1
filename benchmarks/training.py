"""This project and TRL train the same model on the same pairs, step by step in turn.

Both are children of one process, have the same weights, pairs, order, precision and threads, and
take their steps alternately. Losses and gradient norms are compared, then the costs.

    pip install '.[benchmarks]'
    OMP_WAIT_POLICY=PASSIVE python benchmarks/training.py --pairs ladder.jsonl --model 40m

On a CPU all costs are CPU seconds, so that other work on the machine does not count; idle OpenMP
threads must then sleep (OMP_WAIT_POLICY=PASSIVE), as waiting ones would.
"""

from __future__ import annotations

import argparse
import multiprocessing
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import attrs
import material
from trainers import TRAINERS, StepReport, Task

from cpt.types import Pair

TRL_ADDS = {"apo_zero": 1.0, "apo_down": 1.0}
"""What TRL's losses have more than the paper's: constants, without gradient."""


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pairs = _pairs(options, folder / "model")
        task = Task(
            model=folder / "model",
            pairs=pairs,
            output=folder / "run",
            loss=options.loss,
            beta=options.beta,
            batch=options.batch,
            steps=len(pairs) // options.batch,
            longest=options.max_length,
            precision=options.precision,
            device=options.device,
            threads=options.threads,
            micro_tokens=options.micro_tokens,
            theirs_checkpointed=options.flags == "default",
            cached=options.flags == "best",
            compile=options.compile,
            checkpointing=options.checkpointing,
            warm_up=options.warm_up,
        )
        reports = run(task, options.trainers)
    _print(task, reports, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--pairs", type=Path, required=True, help="jsonl: a ladder's rows or CLAIR's")
    add("--authors", nargs="+", default=["gpt4", "text_davinci_003"], help="best first")
    add("--prompt-words", type=int, default=0, help="join rows until prompts are as long")
    add("--model", choices=material.MODELS, default="40m")
    add("--loss", choices=["dpo", "apo_zero", "apo_down"], default="dpo")
    add("--beta", type=float, default=0.1)
    add("--batch", type=int, default=4, help="pairs a step")
    add("--steps", type=int, default=4)
    add("--warm-up", type=int, default=1, help="first steps that are not counted")
    add("--max-length", type=int, default=512)
    add("--precision", choices=["fp32", "bf16"], default="fp32")
    add("--flags", choices=["default", "eager", "best"], default="default", help="TRL's")
    add("--micro-tokens", type=int, help="ours")
    add("--compile", action="store_true", help="ours")
    add("--checkpointing", action="store_true", help="ours; TRL's are its flags")
    add("--device", choices=["cpu", "cuda"], default="cpu")
    add("--threads", type=int, default=2)
    add("--trainers", nargs=2, choices=TRAINERS, default=["cpt", "trl"], help="who is compared")
    options = parser.parse_args()
    if not 0 < options.warm_up < options.steps:
        parser.error("--warm-up is at least 1, and less than --steps")
    return options


def _pairs(options: argparse.Namespace, model: Path) -> list[Pair]:
    """As many pairs as the steps need, none too long; the model and its tokenizer beside."""
    pairs = material.read(options.pairs, options.authors)
    material.make_model(options.model, model, device=options.device)
    vocabulary = min(material.MODELS[options.model]["vocab_size"], 50_000)
    material.make_tokenizer(pairs, vocabulary, model)
    if options.prompt_words:
        pairs = material.joined(pairs, options.prompt_words)
    pairs = material.fitting(pairs, model, options.max_length)
    wanted = options.steps * options.batch
    return material.repeated(pairs, -(-wanted // len(pairs)))[:wanted]


def run(task: Task, names: Sequence[str]) -> dict[str, list[StepReport]]:
    """What each trainer reports: its reference pass, then its steps."""
    context = multiprocessing.get_context("spawn")
    ends: dict[str, Connection] = {}
    children = []
    for name in names:
        here, there = context.Pipe()
        ends[name] = here
        own = attrs.evolve(task, output=task.output / name)
        children.append(context.Process(target=TRAINERS[name], args=(own, there), daemon=True))
        children[-1].start()
        there.close()
    try:
        return _in_turn(task.steps, ends)
    finally:
        for child in children:
            child.kill()


def _in_turn(steps: int, ends: Mapping[str, Connection]) -> dict[str, list[StepReport]]:
    reports: dict[str, list[StepReport]] = {name: [] for name in ends}
    for _ in range(1 + steps):
        for name, end in ends.items():
            if reports[name]:
                end.send("continue")
            reports[name].append(_received(name, end))
    return reports


def _received(name: str, end: Connection) -> StepReport:
    """The next report of a trainer, which tells by itself why there is none."""
    try:
        report: StepReport = end.recv()
    except EOFError:
        raise SystemExit(f"training.py: {name} has ended early; why stands above") from None
    return report


def _print(task: Task, reports: dict[str, list[StepReport]], options: argparse.Namespace) -> None:
    print(" ".join(f"{name}={value}" for name, value in vars(options).items()))
    for step in range(1, 1 + task.steps):
        columns = [
            f"{steps[step].loss:.6f} {steps[step].grad_norm:10.4f}" for steps in reports.values()
        ]
        print(f"step {step}", " | ".join(columns))
    mine, other = reports.values()
    info = mine[0].info
    counted = task.steps - task.warm_up
    share = counted / task.steps
    seconds = {name: _seconds(task, steps, name) for name, steps in reports.items()}
    forwards = 3 if task.cached else 4
    floor = forwards * share * sum(info[f"{part}_flops"] / info[part] for part in ("body", "head"))
    count = counted * task.batch
    titles = ["", "pairs/s", "tokens/s", "seconds", "reference", "floors", "MB"]
    print("{:4}{:>10}{:>10}{:>10}{:>10}{:>8}{:>8}".format(*titles))
    for name, steps in reports.items():
        taken, reference = seconds[name], 0.0 if name == "trl" else steps[0].seconds
        speed = f"{count / taken:10.3f}{share * info['tokens'] / taken:10.0f}"
        times = f"{taken:10.2f}{reference:10.2f}{taken / floor:8.2f}"
        print(f"{name:4}{speed}{times}{steps[-1].peak:8.0f}")
    rates = ", ".join(f"{info[part] / 1e9:.0f} ({part})" for part in ("body", "head"))
    print(f"floor {floor:.2f} s at {rates} GFLOP/s")
    warm = [f"{name} {_before(task, steps):.1f} s" for name, steps in reports.items()]
    print(f"not counted, for compiling and {task.warm_up} first steps: {', '.join(warm)}")
    first, second = reports
    speed, memory = seconds[second] / seconds[first], mine[-1].peak / other[-1].peak
    print(f"{first}: {speed:.2f} times the speed of {second}, {memory:.2f} of its memory")
    _compare(mine[1:], other[1:], task, TRL_ADDS.get(task.loss, 0.0) if second == "trl" else 0.0)


def _seconds(task: Task, reports: Sequence[StepReport], name: str) -> float:
    """Of all counted steps; ours with their share of the reference, where TRL's have theirs."""
    steps = sum(report.seconds for report in reports[1 + task.warm_up :])
    if name == "trl" or task.cached:
        return steps
    return steps + reports[0].seconds * (task.steps - task.warm_up) / task.steps


def _before(task: Task, reports: Sequence[StepReport]) -> float:
    """What is left out: the reference pass that compiles, and the first steps."""
    steps = reports[1 : 1 + task.warm_up]
    return reports[0].info.get("compiling", 0.0) + sum(report.seconds for report in steps)


def _compare(
    ours: Sequence[StepReport], theirs: Sequence[StepReport], task: Task, more: float
) -> None:
    loss = max(abs(a.loss + more - b.loss) / abs(b.loss) for a, b in zip(ours, theirs, strict=True))
    norm = max(abs(a.grad_norm / b.grad_norm - 1) for a, b in zip(ours, theirs, strict=True))
    print(f"largest relative difference: loss {loss:.1e}, gradient norm {norm:.1e}")
    if task.precision == "fp32" and (loss > 1e-4 or norm > 1e-3):
        raise SystemExit("They do not compute the same.")


if __name__ == "__main__":
    main()
