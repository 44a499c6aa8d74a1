"""How fast one service may be asked: learned from its refusals and its headers.

After a refusal the rate follows a curve like that of TCP CUBIC (RFC 9438): it stays a while near
what was accepted, then grows with the cube of time. Two things are our own: a gap that doubles
while everything is refused, and a trial whether going slower helps at all. `benchmarks/asking.py
--storm` measures it against limiters, `tests/test_asking_limiters.py` against every kind of them.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

import attrs

WINDOW = 1.0
"""Seconds over which services commonly count requests, and over which we do."""
FEWEST = 4
"""Starts that make a rate, however long they took."""
TRIAL = 50
"""Starts after which we judge whether going slower has helped."""
MOST_NOISE = 0.25
"""Part of the starts whose refusal may have nothing to do with the rate."""
SAFE = 0.97
"""Part of the rate that was accepted at which we continue after a refusal."""
QUIET, SLOWLY, QUICKLY = 3.0, 15.0, 2.5
"""Seconds: of no growth, and until the rate has doubled, where it is known well and where not."""
LONGEST_GAP = 30.0


@attrs.frozen
class Curve:
    """The rate after a refusal: nearly flat at first, then with the cube of time."""

    rate: float
    """Starts a second that were accepted."""
    since: float
    known_well: bool
    """Whether it held for a while before; if not, the curve rises at once."""

    def at(self, now: float) -> float:
        """Starts a second, now."""
        quiet, until_double = (QUIET, SLOWLY) if self.known_well else (0.0, QUICKLY)
        grown = max(0.0, (now - self.since - quiet) / until_double) ** 3
        return self.rate * (SAFE + grown)


@attrs.define
class Trial:
    """Whether refusals become rarer when we go slower: those that do not are noise."""

    noise: float = 0.0
    """Part of the starts that is refused at any rate."""
    running: bool = False
    """Whether we go slower to find out."""
    before: float = 0.0
    """What part was refused in the last trial."""
    starts: int = 0
    refusals: int = 0

    def begin(self) -> None:
        """We go slower."""
        self.running, self.starts, self.refusals = True, 0, 0

    def tolerates(self) -> bool:
        """Count a refusal; whether there are still no more than noise explains."""
        self.refusals += 1
        return self.refusals <= TRIAL * (MOST_NOISE if self.running else 3 * self.noise)

    def judge(self) -> Literal["slower", "ahead", "on"]:
        """After `TRIAL` starts: go "slower", "ahead" as the rest is noise, or "on" as before."""
        share = self.refusals / self.starts
        trial, self.running = self.running, False
        self.starts = self.refusals = 0
        before, self.before = self.before, share if trial else 0.0
        if not trial:
            # Never upwards: a service that refuses more and more is being asked too much.
            self.noise = min(self.noise, 0.8 * self.noise + 0.2 * share)
        elif 2 / TRIAL <= share <= MOST_NOISE and before / 2 <= share <= 2 * before:
            self.noise = share
            return "ahead"
        elif share:
            return "slower"
        return "on"


class Pace:
    """The time between two starts.

    Unlimited until the first refusal. Then the rate of the starts that were accepted in the last
    second, which grows along a `Curve`. While the service refuses everything, the gap between two
    starts doubles up to what `Retry-After` said, but to no less than `WINDOW`: each refused request
    is given that time, and many wait. All times are those of the event loop, in seconds.
    """

    def __init__(self, now: float) -> None:
        self.ceiling: float | None = None
        """Most starts a second that the user or the service's headers allow."""
        self._next = 0.0
        self._accepted: deque[float] = deque()
        self._curve: Curve | None = None
        self._trial = Trial()
        self._began = now
        self._gap: float | None = None
        """Seconds between two starts while everything is refused."""
        self._refused_at = float("-inf")

    def ready(self) -> float:
        """When the next request may start."""
        return self._next

    def start(self, now: float) -> None:
        """A request starts."""
        self._accepted.append(now)
        while len(self._accepted) > FEWEST and self._accepted[0] < now - WINDOW:
            self._accepted.popleft()
        if spacing := self._spacing(now):
            # What a late timer lost may be made up for, but not in a burst.
            self._next = max(self._next, now - WINDOW / 20) + spacing
        if self._curve and self._gap is None:
            self._trial.starts += 1
            if self._trial.starts >= TRIAL:
                self._judge(self._curve, now)

    def accepted(self, began: float) -> None:
        """A request that began then was not refused."""
        if self._gap is not None and began >= self._refused_at:
            self._gap = None
            if self._curve:
                self._curve = attrs.evolve(self._curve, since=began)
            # It has room again: no need to sit out a gap that was as long as a minute's limit.
            self._next = min(self._next, began + WINDOW)

    def overloaded(self, began: float, now: float, retry_after: float | None) -> bool:
        """A request that began then was refused. Whether we go slower for it."""
        if began in self._accepted:
            self._accepted.remove(began)
        if began < self._refused_at:
            return False
        if self._gap is not None:
            longest = LONGEST_GAP if retry_after is None else max(WINDOW, retry_after)
            self._gap = min(2 * self._gap, longest)
            self._refused_at, self._next = now, now + self._gap
            return False
        if self._trial.tolerates():
            return False
        self._slow_down(now)
        return True

    def _judge(self, curve: Curve, now: float) -> None:
        verdict = self._trial.judge()
        if verdict == "slower":
            self._slow_down(now)
        elif verdict == "ahead":
            self._curve = attrs.evolve(curve, since=now, known_well=False)

    def _slow_down(self, now: float) -> None:
        """Go on at the rate that was accepted."""
        known_well = self._curve is not None and now - self._curve.since > WINDOW
        rate = self._accepted_rate(now)
        self._curve = Curve(rate, now, known_well)
        self._gap = 2 / rate
        self._refused_at, self._next = now, now + self._gap
        self._trial.begin()

    def _accepted_rate(self, now: float) -> float:
        """Starts a second that were not refused, lately: at the present rate, if that will do."""
        since = self._curve.since if self._curve else self._began
        present = min(WINDOW, max(WINDOW / 100, now - since))
        for span in (present, WINDOW):
            recent = sum(began >= now - span for began in self._accepted)
            if recent >= FEWEST:
                return recent / span
        first = self._accepted[0] if self._accepted else now
        return max(1, len(self._accepted)) / max(WINDOW, now - first)

    def _spacing(self, now: float) -> float | None:
        gaps = [1 / self.ceiling] if self.ceiling else []
        if self._gap is not None:
            gaps.append(self._gap)
        elif self._curve:
            gaps.append(1 / self._curve.at(now))
        return max(gaps, default=None)
