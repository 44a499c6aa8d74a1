"""Trainings in processes of their own, which may be killed.

`python -m tests.training_process` loads torch once and forks for every training, so that a test
pays for the start only once.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import attrs
import torch

from cpt import files
from cpt.training import train
from cpt.training.options import Training

from . import sharding, tiny


class Trainings:
    """The test's side: asks for trainings, and hears how their processes ended."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.training_process"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, model: Path, output: Path, **asked: Any) -> list[int]:
        """Exit status of each process, negative for a signal.

        `processes` is how many share the training; `die` how it ends, as `[signal, event, step]`
        or `[signal, "publish", step]` for the middle of writing a checkpoint; `loss` (of `tiny`,
        or `MODULE:CLASS`) and `pairs` what is trained on; `note` a file for the rank and the name
        of each event; `sharded` whether by FSDP2; `scheduler` a `MODULE:CLASS`, for which the
        pairs get margins; the rest are options.
        """
        request = {"model": str(model), "output": str(output), **asked}
        assert self._server.stdin and self._server.stdout
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return list(json.loads(self._server.stdout.readline()))

    def close(self) -> None:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def _serve() -> None:
    torch.set_num_threads(1)
    for line in sys.stdin:
        asked = json.loads(line)
        processes = asked.pop("processes", 1)
        port = _free_port()
        children = [_fork(asked, rank, processes, port) for rank in range(processes)]
        ends = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(ends), flush=True)


def _fork(asked: dict[str, Any], rank: int, processes: int, port: int) -> int:
    child = os.fork()
    if child:
        return child
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    if processes > 1:
        launched = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in launched.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1"}
    try:
        _train(**asked)
    except KeyboardInterrupt:
        os._exit(130)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        os._exit(1)
    os._exit(0)


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
        notify=notify,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _serve()
