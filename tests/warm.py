"""A Python that is warm: it has loaded the libraries, and forks for every script.

A command on a tiny model takes a few seconds to load torch, and a moment for its work. `WarmPython`
starts `python warm.py serve SOCKET SCRIPT MODULE...`, which pays for the start once; then
`python warm.py run SOCKET ...` is as `python ...`, for scripts of a shell. This file needs nothing
but Python.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import re
import runpy
import select
import shlex
import signal
import site
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

STREAMS = (0, 1, 2)


class Process:
    """A process that a server has forked: what `python WORDS` would be, with these open files as
    its streams."""

    def __init__(self, server: str, words: Sequence[str], streams: Sequence[int], **how: Any):
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.connect(server)
        request = json.dumps({"words": words, **how}).encode() + b"\n"
        socket.send_fds(self._connection, [request[:1]], streams)
        self._connection.sendall(request[1:])
        self._said = self._connection.makefile()
        self.pid = int(self._said.readline())

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Its exit status, negative for a signal."""
        with self._connection, self._said:
            return int(self._said.readline())


class Ended(NamedTuple):
    """How a process ended."""

    status: int
    """Negative for a signal."""
    out: str
    err: str


class Read(Process):
    """A process whose output is read."""

    def __init__(self, server: str, words: Sequence[str], **how: Any) -> None:
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        with open(os.devnull) as nothing:
            super().__init__(server, words, (nothing.fileno(), out_end, err_end), **how)
        os.close(out_end)
        os.close(err_end)
        self.out, self.err = (os.fdopen(end, errors="replace") for end in (out, err))

    def end(self) -> Ended:
        """Wait for it; what has not been read of its output."""
        with self.out, self.err, ThreadPoolExecutor(1) as beside:
            err = beside.submit(self.err.read)  # a full pipe would stop the process
            out = self.out.read()
        return Ended(self.wait(), out, err.result())


class WarmPython:
    """A server with these modules; `NAME.*` is a package and all that is in it. `script` is done
    once they are loaded: what every process would do again."""

    def __init__(
        self,
        folder: Path,
        modules: Sequence[str],
        script: str = "",
        python: str | Path = sys.executable,
        **how: Any,
    ) -> None:
        self.socket = str(folder / "socket")
        line = [python, __file__, "serve", self.socket, script, *modules]
        pipe = subprocess.PIPE
        self._server = subprocess.Popen(line, stdin=pipe, stdout=pipe, text=True, **how)
        assert self._server.stdout
        assert self._server.stdout.readline() == "ready\n", "the server did not start"

    def start(self, *words: object, cwd: Path, env: Mapping[str, str] = {}) -> Read:
        """As `python WORDS`, with `env` added to the environment."""
        how = {"cwd": str(cwd), "env": {**os.environ, **env}}
        return Read(self.socket, [str(word) for word in words], **how)

    def run(self, *words: object, cwd: Path, env: Mapping[str, str] = {}) -> Ended:
        return self.start(*words, cwd=cwd, env=env).end()

    def script(self, path: Path, *words: object) -> None:
        """Write a program for shells that does as `python WORDS` and what it is given."""
        line = [sys.executable, "-IS", __file__, "run", self.socket, *words]
        path.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, line))} "$@"\n')
        path.chmod(0o755)

    def close(self) -> None:
        self._server.communicate()


def serve(path: str, script: str, *modules: str) -> NoReturn:
    """Fork for whoever asks, until standard input ends."""
    sys.path[0] = os.getcwd()
    sys.modules.setdefault("torchao", None)  # type: ignore[arg-type]  # as `cpt` does
    for name in modules:
        _load(name)
    exec(script, {})
    woken, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    gc.collect()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    print("ready", flush=True)
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([listener, woken, sys.stdin], [], [])
        if listener in ready:
            connection, _ = listener.accept()
            child = _fork(connection)
            running[child] = connection
            connection.sendall(f"{child}\n".encode())
        if woken in ready:
            os.read(woken, 4096)
            _reap(running)
        if sys.stdin in ready:
            os._exit(0)


def _load(name: str) -> None:
    if not name.endswith(".*"):
        importlib.import_module(name)
        return
    package = importlib.import_module(name.removesuffix(".*"))
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        # What pytest rewrites it loads itself.
        if not re.search("__main__|testing", module.name):
            importlib.import_module(module.name)


def _reap(running: dict[int, socket.socket]) -> None:
    """Tell the clients of the children that have ended how they did."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            child, status = ended
            with running.pop(child) as connection, suppress(BrokenPipeError):
                connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _fork(connection: socket.socket) -> int:
    """Fork for the request that comes over a connection."""
    request, streams, _, _ = socket.recv_fds(connection, 1 << 20, len(STREAMS))
    while not request.endswith(b"\n"):
        request += connection.recv(1 << 20)
    child = os.fork()
    if not child:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for given, number in zip(streams, STREAMS, strict=True):
            os.dup2(given, number)
        _become(**json.loads(request))
    for stream in streams:
        os.close(stream)
    return child


def _become(words: list[str], cwd: str, env: dict[str, str]) -> NoReturn:
    status: Any = 1
    try:
        os.chdir(cwd)
        os.environ.clear()
        os.environ.update(env)
        for folder in site.getsitepackages():
            site.addsitedir(folder)  # for what was installed since the start
        _python(words)
        status = 0
    except SystemExit as end:
        status = end.code or 0
        if isinstance(status, str):
            print(status, file=sys.stderr)
            status = 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError):
                stream.flush()
        os._exit(status)


def _python(words: list[str]) -> None:
    """Do as `python WORDS` does."""
    kind, *rest = words[1:] if words[0] == "-u" else words
    sys.argv = [kind, *rest]
    if kind == "-m":
        sys.path[0] = ""
        sys.argv = rest
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    elif kind == "-c":
        sys.path[0] = ""
        sys.argv = ["-c", *rest[1:]]
        _execute(rest[0])
    else:
        sys.path[0] = str(Path(kind).parent)
        _execute(Path(kind).read_text(), kind)


def _execute(text: str, file: str = "<string>") -> None:
    """Run a program as the main module; `multiprocessing` has a second name for that."""
    main = ModuleType("__main__")
    main.__file__ = file
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main
    exec(compile(text, file, "exec"), vars(main))


def run(path: str, *words: str) -> NoReturn:
    """Be as `python WORDS`; what this process is told by signal, that one is told."""
    process = Process(path, words, STREAMS, cwd=os.getcwd(), env=dict(os.environ))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: os.kill(process.pid, number))
    status = process.wait()
    raise SystemExit(status if status >= 0 else 128 - status)


if __name__ == "__main__":
    commands: Mapping[str, Callable[..., NoReturn]] = {"serve": serve, "run": run}
    commands[sys.argv[1]](*sys.argv[2:])
