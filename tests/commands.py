"""Commands in processes of their own, which start together, may be killed, or find a disk full."""

from __future__ import annotations

import importlib
import itertools
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from .warm import Ended, WarmPython


@attrs.frozen
class Commands:
    """The test's side: asks for commands, and hears how they ended."""

    python: WarmPython

    def __call__(self, *lines: Sequence[object], cwd: Path, **how: Any) -> list[Ended]:
        """Run these command lines at the same time, in the folder `cwd`.

        `signals` is what each one gets: the dotted name of a function, a number, and at which call
        of the function, if not the first. From the call of the function `full`, no file can grow
        beyond `limit` bytes. `env` is added to the environment.
        """
        env: Mapping[str, str] = how.pop("env", {})
        program = ["-m", "tests.commands", json.dumps(how)] if how else ["-m", "cpt"]
        started = [self.python.start(*program, *line, cwd=cwd, env=env) for line in lines]
        return [process.end() for process in started]

    def one(self, *line: object, cwd: Path, **how: Any) -> Ended:
        return self(line, cwd=cwd, **how)[0]

    def shared(self, *line: object, cwd: Path, env: Mapping[str, str]) -> list[Ended]:
        """Two processes do one command, as a launcher starts them."""
        started = [
            self.python.start("-m", "cpt", *line, cwd=cwd, env={**env, **each})
            for each in launched(2)
        ]
        return [process.end() for process in started]


def launched(processes: int) -> list[dict[str, str]]:
    """What a launcher adds to the environment of each process."""
    if processes == 1:
        return [{}]
    port = _free_port()
    shared = {"WORLD_SIZE": processes, "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
    ranks = ({"RANK": rank, "LOCAL_RANK": rank} for rank in range(processes))
    return [{name: str(value) for name, value in {**shared, **rank}.items()} for rank in ranks]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _meet(signals: Sequence[Any] = (), full: str = "", limit: int = 0) -> None:
    """Let this process meet what it was asked for with."""
    for function, number, *call in signals:
        _before(function, lambda number=number: os.kill(os.getpid(), number), *call)
    if full:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _before(full, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))


def _before(name: str, act: Any, call: int = 1) -> None:
    """Do something from that call of a function on, whoever has imported it."""
    module, _, function = name.rpartition(".")
    inner = getattr(importlib.import_module(module), function)
    calls = itertools.count(1)

    def outer(*args: Any, **named: Any) -> Any:
        if next(calls) >= call:
            act()
        return inner(*args, **named)

    for loaded in list(sys.modules.values()):
        if getattr(loaded, "__dict__", {}).get(function) is inner:
            setattr(loaded, function, outer)


if __name__ == "__main__":
    from cpt.cli import main

    asked = sys.argv.pop(1)
    sys.argv[0] = "cpt"
    _meet(**json.loads(asked))
    main()
