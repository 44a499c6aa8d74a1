"""Commands in processes of their own, which start together, may be killed, or find a disk full."""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
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

        `signals` is what each one gets, as pairs of the dotted name of a function and a number: as
        that function is called. From the call of the function `full`, no file can grow beyond
        `limit` bytes. `env` is added to the environment.
        """
        env: Mapping[str, str] = how.pop("env", {})
        program = ["-m", "tests.commands", json.dumps(how)] if how else ["-m", "cpt"]
        started = [self.python.start(*program, *line, cwd=cwd, env=env) for line in lines]
        return [process.end() for process in started]

    def one(self, *line: object, cwd: Path, **how: Any) -> Ended:
        return self(line, cwd=cwd, **how)[0]


def _meet(signals: Sequence[tuple[str, int]] = (), full: str = "", limit: int = 0) -> None:
    """Let this process meet what it was asked for with."""
    for function, number in signals:
        _before(function, lambda number=number: os.kill(os.getpid(), number))
    if full:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _before(full, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))


def _before(name: str, act: Any) -> None:
    """Do something as a function is called, whoever has imported it."""
    module, _, function = name.rpartition(".")
    inner = getattr(importlib.import_module(module), function)

    def outer(*args: Any, **named: Any) -> Any:
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
