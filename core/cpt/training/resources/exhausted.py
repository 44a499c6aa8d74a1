"""Out of memory, said in one line with what would make it fit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cpt.errors import CptError
from cpt.training.planning.plan import Plan

ALLOCATORS = ("DefaultCPUAllocator", "can't allocate memory", "out of memory")
"""What the message of an error holds that means it, if its class does not say so."""


@contextmanager
def memory_errors(plan: Plan, device: torch.device) -> Iterator[None]:
    """Turn the errors of every allocator into a `CptError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_exhausted(error):
            raise
        from cpt.training.resources.estimate import too_large

        raise CptError(
            f"Out of memory ({device.type}): {too_large(plan, device.type)}. "
            "`cpt train --dry-run` has the memory by part; the last checkpoint is kept."
        ) from error


def _is_exhausted(error: BaseException) -> bool:
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(word in str(error) for word in ALLOCATORS)
