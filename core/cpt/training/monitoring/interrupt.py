"""Ctrl-C between two steps instead of inside one."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import attrs


@attrs.define
class Interrupt:
    """Whether the user has asked to stop."""

    asked: bool = False


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Note the first Ctrl-C (or SIGTERM) instead of raising; the second one raises."""
    interrupt = Interrupt()
    if threading.current_thread() is not threading.main_thread():
        yield interrupt
        return
    before = {name: signal.getsignal(name) for name in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for name, handler in before.items():
            signal.signal(name, handler)

    def note(_: int, __: FrameType | None) -> None:
        interrupt.asked = True
        restore()

    for name in before:
        signal.signal(name, note)
    try:
        yield interrupt
    finally:
        restore()
