"""An event loop whose time passes only when there is nothing to do.

Work that waits for a thread sees time jump to the next timer meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        select = self._selector.select  # type: ignore[attr-defined]

        def skip(timeout: float | None) -> Any:
            self._now += timeout or 0.0
            return select(0)

        self._selector.select = skip  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._now


def in_no_time(work: Coroutine[Any, Any, Any]) -> Any:
    """Run it; an hour of sleep takes a moment."""
    loop = _Loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()
