"""One switch that stops all that has not been sent yet; Ctrl-C sets it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from cpt.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """A switch: once it is set, nothing more is begun, and all that waits raises its error.

    What is in flight continues.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self._waiting: set[asyncio.Future[float]] = set()
        self._listeners: list[Callable[[Exception], None]] = []

    def listen(self, listener: Callable[[Exception], None]) -> None:
        """Call this when the switch is set."""
        self._listeners.append(listener)

    def set(self, error: Exception) -> None:
        """Stop with this error; the first one counts."""
        if self.error is None:
            self.error = error
            for waiter in tuple(self._waiting):
                if not waiter.done():
                    waiter.set_exception(error)
            for listener in self._listeners:
                listener(error)

    def raise_if_set(self) -> None:
        """Raise the error that it was set with, if it was."""
        if self.error:
            raise self.error

    def future(self) -> asyncio.Future[float]:
        """Something to wait for that fails when the switch is set."""
        self.raise_if_set()
        waiter: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        waiter.add_done_callback(self._waiting.discard)
        return waiter

    async def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until the switch is set."""
        waiter = self.future()
        timer = asyncio.get_running_loop().call_later(seconds, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()


def _wake(waiter: asyncio.Future[float]) -> None:
    if not waiter.done():
        waiter.set_result(0.0)


class Interrupted(Stopped):
    """Ctrl-C, or a signal of the machine, asked it to end."""

    exit_code = 130


@contextmanager
def interruptible(stop: Stop, in_flight: Callable[[], int]) -> Iterator[None]:
    """Until the block ends, the first signal sets the switch and the second ends the process."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield  # No loop can listen for signals there: Ctrl-C ends the process as it always does.
        return
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if stop.error:
            # What is in the journal is on the disk; nothing else is worth waiting for.
            os._exit(Interrupted.exit_code)
        click.echo(
            f"\nStopping: {in_flight()} answers in flight are awaited and kept. "
            "Press Ctrl-C again to quit.",
            err=True,
        )
        stop.set(Interrupted("Stopped. The same command continues: all answers are kept."))

    for number in SIGNALS:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)
