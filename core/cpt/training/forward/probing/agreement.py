"""What the first process finds, all processes do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import distributed

from cpt.errors import CptError

T = TypeVar("T")


def agreed(find: Callable[[], T]) -> T:
    """What `find` returns or raises in the first process, in every process.

    Others may hold no weights to find it with, and rounding may differ between machines. Each
    calls `find`, as a sharded model computes only when all do. Raises `CptError`.
    """
    if not distributed.is_available() or not distributed.is_initialized():
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
