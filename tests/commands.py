"""Commands in processes of their own, which start together, may be killed, or find a disk full.

`python -m tests.commands` loads all libraries once and forks for every command, so that a test
pays for the start only once.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import attrs

LOADED = (
    *("cpt.cli", "cpt.report.html", "cpt.report.read.run", "cpt.run.pipeline", "cpt.run.estimate"),
    *("cpt.training.loop", "datasets", "pyarrow.json", "rich.table", "rich.progress"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
    *("transformers.models.llama.modeling_llama", "transformers.tokenization_utils_tokenizers"),
    *("cpt_judges.judged", "cpt_lab.recipes", "cpt_ladder.pairer", "rapidfuzz.fuzz"),
    *("cpt_recorded.responder", "cpt_transformers.responder"),
    *("transformers.generation.utils", "tests.tiny", "cattrs", "jinja2"),
)
"""What commands import, which takes longer than what they do in a test."""


@attrs.frozen
class Ended:
    """How a command ended."""

    status: int
    """Negative for a signal."""
    out: str
    err: str


class Commands:
    """The test's side: asks for commands, and hears how they ended."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.commands"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *lines: Sequence[object], cwd: Path, **how: Any) -> list[Ended]:
        """Run these command lines at the same time, in the folder `cwd`.

        `signals` is what the first one gets, as pairs of seconds after the start and a number, or
        of the dotted name of a function and a number: as that function is called. From the call
        of the function `full`, no file can grow beyond `limit` bytes. `env` is added to the
        environment.
        """
        words = [[str(word) for word in line] for line in lines]
        assert self._server.stdin and self._server.stdout
        request = {"lines": words, "cwd": str(cwd), **how}
        print(json.dumps(request), file=self._server.stdin, flush=True)
        return [Ended(*ended) for ended in json.loads(self._server.stdout.readline())]

    def one(self, *line: object, cwd: Path, **how: Any) -> Ended:
        return self(line, cwd=cwd, **how)[0]

    def close(self) -> None:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def _serve() -> None:
    import torch
    import transformers.models.llama  # noqa: F401

    import cpt_lab  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        asked = json.loads(line)
        signals = asked.pop("signals", [])
        children = [_fork(words, **asked, signals=signals) for words in asked.pop("lines")]
        started = time.monotonic()
        for after, number in signals:
            if not isinstance(after, str):
                time.sleep(max(0.0, started + after - time.monotonic()))
                os.kill(children[0][0], number)
        print(json.dumps([_end(*child) for child in children]), flush=True)


def _fork(
    words: list[str],
    cwd: str,
    signals: list[Any],
    full: str = "",
    limit: int = 0,
    env: dict[str, str] | None = None,
) -> tuple[int, int, int]:
    """The process, and the pipes that it prints into: no limit on files applies to them."""
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    child = os.fork()
    if child:
        os.close(out_end)
        os.close(err_end)
        return child, out, err
    os.dup2(out_end, 1)
    os.dup2(err_end, 2)
    os.chdir(cwd)
    os.environ |= env or {}
    sys.argv = ["cpt", *words]
    for after, number in signals:
        if isinstance(after, str):
            _before(after, lambda number=number: os.kill(os.getpid(), number))
    if full:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _before(full, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    _exit(words)


def _exit(words: list[str]) -> NoReturn:
    import traceback

    from cpt.cli import main

    status: Any = 70
    try:
        main(words)
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(status)


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


def _end(child: int, out: int, err: int) -> tuple[int, str, str]:
    printed = [_read(pipe) for pipe in (out, err)]
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, printed[0], printed[1]


def _read(pipe: int) -> str:
    with open(pipe, encoding="utf-8", errors="replace") as content:
        return content.read()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _serve()
