"""What a user sees while models are asked: a live line on a terminal, else one every 10 seconds."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from typing import Any

from cpt.asking.stats import Stats

LIVE, PLAIN = 0.25, 10.0
"""Seconds between two updates, on a terminal and elsewhere."""
FIRST = 3.0
"""Seconds until the first line outside a terminal."""
PASSING = ("overloaded", "unreachable", "malformed")
"""Errors after which a request is asked again."""
RECENT = 30.0
"""Seconds over which speed is measured."""


class Progress:
    """Shows on standard error how far asking has come, until it is closed."""

    def __init__(self, stats: Stats, total: int | None, stage: str) -> None:
        self._stats = stats
        self._total = total
        self._stage = stage or "asking"
        self._began = time.monotonic()
        self._seen: deque[tuple[float, int, int]] = deque()
        self._bar: Any = None
        self._shown: Any = None
        self._printed = False
        self._task = asyncio.create_task(self._show())

    async def close(self) -> None:
        """Show where it ended, if anything was shown before."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._bar:
            self._draw()
            self._bar.stop()
        elif time.monotonic() - self._began > FIRST:
            self._print()

    async def _show(self) -> None:
        live = sys.stderr.isatty()
        while True:
            await asyncio.sleep(LIVE if live else PLAIN if self._printed else FIRST)
            if live:
                self._draw()
            else:
                self._print()

    def _print(self) -> None:
        self._printed = True
        print(self.line(), file=sys.stderr, flush=True)

    def _draw(self) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Bar
            from rich.table import Column

            # On a narrow terminal the line wraps: the cost is at its end.
            words = TextColumn("{task.description}", markup=False, table_column=Column())
            columns = (BarColumn(bar_width=10), words)
            self._bar = Bar(*columns, console=Console(stderr=True))
            self._shown = self._bar.add_task("", total=self._total)
            self._bar.start()
        self._bar.update(self._shown, completed=self._stats.items, description=self.line())

    def line(self) -> str:
        """Done, time left, in flight, failed by reason, speed, tokens, cost."""
        stats = self._stats
        answers, items = self._speeds()
        of = f"/{self._total}" if self._total else ""
        earlier = f" ({stats.from_journal} from the journal)" if stats.from_journal else ""
        passing = _listed({kind: stats.errors[kind] for kind in PASSING})
        parts = [
            f"{stats.items}{of} done" if stats.items else "",
            f"{clock((self._total - stats.items) / items)} left" if self._total and items else "",
            f"{stats.done} answers{earlier}",
            f"{stats.in_flight} in flight",
            _listed({k: n for k, n in stats.outcomes.items() if k != "answered"}),
            f"asked again: {passing}" if passing else "",
            f"{answers:.1f}/s",
            f"{stats.input_tokens + stats.output_tokens + stats.generating:,} tokens",
            _money(stats),
        ]
        return f"{self._stage}: {' · '.join(filter(None, parts))}"

    def _speeds(self) -> tuple[float, float]:
        """Answers and finished items a second, over the last `RECENT` seconds if there were any."""
        now = time.monotonic()
        self._seen.append((now, self._stats.done, self._stats.items))
        while self._seen[0][0] < now - RECENT:
            self._seen.popleft()
        then, done, items = self._seen[0] if len(self._seen) > 1 else (self._began, 0, 0)
        span = max(1e-9, now - then)
        # Answers of a local model come many at a time, and not in every span.
        lately = (self._stats.items - items) / span
        overall = self._stats.items / max(1e-9, now - self._began)
        return (self._stats.done - done) / span, lately or overall


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()) if count)


def _money(stats: Stats) -> str:
    known = f"${stats.cost:.4f}" if stats.cost else ""
    unknown = f"{stats.unpriced} of unknown price" if stats.unpriced else ""
    return " + ".join(filter(None, (known, unknown)))


def clock(seconds: float) -> str:
    """Seconds as `H:MM:SS`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
