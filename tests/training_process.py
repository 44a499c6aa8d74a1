"""Trainings in processes of their own, which may be killed."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import attrs

from cpt import files
from cpt.training import train
from cpt.training.options import Training

from . import sharding, tiny
from .commands import launched
from .warm import WarmPython


@attrs.frozen
class Trainings:
    """The test's side: asks for trainings, and hears how their processes ended."""

    python: WarmPython

    def __call__(self, model: Path, output: Path, **asked: Any) -> list[int]:
        """Exit status of each process, negative for a signal.

        `processes` is how many share the training; `die` how it ends, as `[signal, event, step]`
        or `[signal, "publish", step]` for the middle of writing a checkpoint; `loss` (of `tiny`,
        or `MODULE:CLASS`) and `pairs` what is trained on; `note` a file for the rank and the name
        of each event; `sharded` whether by FSDP2; `scheduler` a `MODULE:CLASS`, for which the
        pairs get margins; the rest are options.
        """
        processes = asked.pop("processes", 1)
        request = json.dumps({"model": str(model), "output": str(output), **asked})
        started = [
            self.python.start("-m", "tests.training_process", request, cwd=model, env=env)
            for env in launched(processes)
        ]
        ends = [process.end() for process in started]
        print("".join(end.err for end in ends), file=sys.stderr)
        return [end.status for end in ends]


def _train(
    model: str,
    output: str,
    loss: str = "Sigmoid",
    pairs: int = 21,
    die: list[Any] | None = None,
    note: str | None = None,
    sharded: bool = False,
    scheduler: str = "",
    **options: Any,
) -> None:
    how, where, step = die or [None, None, None]
    if sharded:
        sharding.shard()

    def notify(event: str, **facts: Any) -> None:
        if note:
            with Path(note).open("a") as file:
                file.write(f"{os.environ.get('RANK', '0')} {event}\n")
        if (event, facts.get("step")) == (where, step):
            os.kill(os.getpid(), how)

    if where == "publish":

        def publish(temporary: Path, final: Path, write: Any = files.publish) -> None:
            if final.name.endswith(f"{step:08d}"):
                os.kill(os.getpid(), how)
            write(temporary, final)

        files.publish = publish
    measured = tiny.pairs(5, seed=9) if "eval_every" in options else []
    if "evaluators_every" in options:
        options["evaluators"] = (tiny.Anything(),)
    given = [*tiny.pairs(pairs), *tiny.ladder(2)]
    if scheduler:
        given = [attrs.evolve(pair, margin=at % 5) for at, pair in enumerate(given)]
    train(
        given,
        model=Path(model),
        scheduler=resolve_name(scheduler)() if scheduler else tiny.Mixed(),
        loss=resolve_name(loss if ":" in loss else f"tests.tiny:{loss}")(),
        options=Training(**{**tiny.OPTIONS, **options}),
        seed=3,
        output=Path(output),
        held_out=measured,
        evaluate=tiny.chosen_logps if "evaluators_every" in options else None,
        notify=notify,
    )


def _status(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return 130
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    try:
        _train(**json.loads(sys.argv[1]))
    except BaseException as error:
        sys.exit(_status(error))
