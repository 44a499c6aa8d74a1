"""Whether other programs take the cores that a training computes on."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import attrs

log = logging.getLogger(__name__)

TASKS = Path("/proc/self/task")
"""Linux: `schedstat` of each thread has nanoseconds on a core, then waiting for one."""
LEAST = 10.0
"""Seconds on cores and waiting for them before anything is said."""
MUCH = 0.3
"""Share of waiting above which it is said."""


@attrs.define
class Contention:
    """Looks at the threads of this process until it has warned once."""

    _before: tuple[float, float] = attrs.field(factory=lambda: thread_times())
    _warned: bool = False

    def look(self) -> None:
        """Warn in one line if much of the time since it was made was spent waiting for a core."""
        if self._warned:
            return
        ran, waited = (now - then for now, then in zip(thread_times(), self._before, strict=True))
        share = waited / (ran + waited) if ran + waited > LEAST else 0.0
        if share > MUCH:
            self._warned = True
            log.warning(
                "Other programs are using the cores: this training spent %.0f%% of its time "
                "waiting for one (load %.1f on %d cores), so steps are that much slower.",
                100 * share,
                os.getloadavg()[0],
                os.cpu_count() or 1,
            )


def thread_times() -> tuple[float, float]:
    """Seconds that the threads of this process ran, and waited for a core; zeros if unknown."""
    ran = waited = 0
    for task in TASKS.glob("*/schedstat"):
        try:
            first, second, *_ = task.read_text().split()
        except (OSError, ValueError):  # a thread that has just ended
            continue
        ran, waited = ran + int(first), waited + int(second)
    return ran / 1e9, waited / 1e9
