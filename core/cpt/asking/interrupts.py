"""Ctrl-C: the first keeps what is in flight, the second leaves at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from cpt.asking.halt import Halt
from cpt.errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Stopped):
    """The user, or whoever runs the machine, wants it to end."""

    exit_code = 130


@contextmanager
def interruptible(halt: Halt, in_flight: Callable[[], int]) -> Iterator[None]:
    """Until the block ends, the first signal throws the switch and the second ends the process."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield  # No loop can listen for signals there: Ctrl-C ends the process as it always does.
        return
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if halt.error:
            # Whatever is in the journal is on the disk; nothing else is worth waiting for.
            os._exit(Interrupted.exit_code)
        click.echo(
            f"\nStopping: {in_flight()} answers in flight are awaited and kept. "
            "Once more leaves at once.",
            err=True,
        )
        halt.throw(Interrupted("Stopped. Run the same again to go on: all answers are kept."))

    for each in SIGNALS:
        loop.add_signal_handler(each, interrupt)
    try:
        yield
    finally:
        for each in SIGNALS:
            loop.remove_signal_handler(each)
