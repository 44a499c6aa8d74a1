"""What the first process finds, all processes do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import distributed

from cpt.errors import CptError

T = TypeVar("T")
_alone = False


def agreed(find: Callable[[], T]) -> T:
    """What `find` returns or raises in the first process, in every process.

    Others may hold no weights to find it with, and rounding may differ between machines. Each
    calls `find`, as a sharded model computes only when all do. Raises `CptError`.
    """
    if is_alone():
        return find()
    found: list[T | CptError]
    try:
        found = [find()]
    except CptError as error:
        found = [error]
    distributed.broadcast_object_list(found, src=0)
    if isinstance(found[0], CptError):
        raise found[0]
    return found[0]


def is_alone() -> bool:
    """Whether this process computes by itself: the only one, or inside a block `alone`."""
    return _alone or not distributed.is_available() or not distributed.is_initialized()


@contextmanager
def alone() -> Iterator[None]:
    """Compute by oneself inside the block, in every thread, while other processes wait."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before
