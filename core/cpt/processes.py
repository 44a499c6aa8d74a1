"""Work on blocks in several processes, in order: one for each core, each with one block at a time.

They are plain processes that read from a pipe: a fork would copy threads of libraries that cannot
be forked, and Python's spawn would run the user's script again.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any, TypeVar

import attrs

from cpt.errors import CptError

Block = TypeVar("Block")
Found = TypeVar("Found")
SERVE = "from cpt.processes import serve; serve()"


def in_processes(work: Callable[[Block], Found], blocks: Iterable[Block]) -> Iterator[Found]:
    """What `work` makes of each block, in their order; nothing is started if there is none.

    Raises what the work raises, if that is a `CptError`. Memory holds a few blocks for each core.
    """
    rest = iter(blocks)
    if first := list(islice(rest, 1)):
        yield from _in_processes(work, chain(first, rest))


def _in_processes(work: Callable[[Block], Found], blocks: Iterable[Block]) -> Iterator[Found]:
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ExitStack() as stack:
        free: SimpleQueue[_Helper] = SimpleQueue()
        for _ in range(count or 1):
            free.put(stack.enter_context(_Helper.started(work)))
        threads = ThreadPoolExecutor(count)
        stack.callback(threads.shutdown, cancel_futures=True)
        running: deque[Future[Found]] = deque()
        for block in blocks:
            running.append(threads.submit(_ask, free, block))
            if len(running) > 2 * (count or 1):
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _ask(free: SimpleQueue[_Helper], block: Any) -> Any:
    helper = free.get()
    try:
        return helper.ask(block)
    finally:
        free.put(helper)


@attrs.frozen
class _Helper:
    """A process that works on blocks."""

    process: subprocess.Popen[bytes]

    @classmethod
    def started(cls, work: Any) -> _Helper:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TOKENIZERS_PARALLELISM": "false",  # there is a process for each core already
        }
        command = [sys.executable, "-P", "-c", SERVE]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        helper = cls(subprocess.Popen(command, env=environment, **pipes))  # type: ignore[call-overload]
        helper.send(work)
        return helper

    def __enter__(self) -> _Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def send(self, value: Any) -> None:
        assert self.process.stdin is not None
        pickle.dump(value, self.process.stdin, pickle.HIGHEST_PROTOCOL)
        self.process.stdin.flush()

    def ask(self, block: Any) -> Any:
        assert self.process.stdout is not None
        try:
            self.send(block)
            found, error = pickle.load(self.process.stdout)
        except (OSError, EOFError) as ended:
            raise CptError(
                "A process that examined pairs was ended from outside; is there enough memory?"
            ) from ended
        if error is not None:
            raise error
        return found


def serve() -> None:
    """What a process does: work on blocks until there are no more."""
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is no result
    work = pickle.load(sys.stdin.buffer)
    while True:
        try:
            block = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(_done(work, block), results, pickle.HIGHEST_PROTOCOL)
        results.flush()


def _done(work: Callable[[Any], Any], block: Any) -> tuple[Any, CptError | None]:
    try:
        return work(block), None
    except CptError as error:
        return None, error
