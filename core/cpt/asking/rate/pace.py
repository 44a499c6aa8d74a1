"""How fast one service may be asked: learned from its refusals and its headers."""

from __future__ import annotations

from collections import deque

WINDOW = 1.0
"""Seconds over which services commonly count requests, and over which we do."""
FEWEST = 4
"""Starts that make a rate, however long they took."""
TRIAL = 50
"""Starts after which we judge whether going slower has helped."""
MOST_NOISE = 0.25
"""Part of the starts whose refusal may be no fault of ours."""
SAFE = 0.97
"""Part of the rate that was accepted at which we go on after a refusal."""
QUIET, SLOWLY, QUICKLY = 3.0, 15.0, 2.5
"""Seconds: of no growth, and until the rate has doubled, where it is known well and where not."""
LONGEST_GAP = 30.0


class Pace:
    """The time between two starts.

    Unlimited until the first refusal. Then the rate of the starts that were accepted in the last
    second, which grows with the cube of time: hardly at first, fast when nothing is refused for
    long. While the service refuses everything, the gap between two starts doubles up to what
    `Retry-After` said, but to no less than `WINDOW`: it speaks to one, and many wait. Refusals that
    going slower does not make rarer are taken for noise, and do not slow us further. All times are
    those of the event loop, in seconds.
    """

    def __init__(self, now: float) -> None:
        self.ceiling: float | None = None
        """Most starts a second that the user or the service's headers allow."""
        self._accepted: deque[float] = deque()
        self._rate: float | None = None
        self._known_well = False
        self._since = now
        self._refused_at = float("-inf")
        self._gap: float | None = None
        self._next = 0.0
        self._noise = 0.0
        self._before = 0.0
        self._trial = False
        self._starts = self._refusals = 0

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
        if self._rate is not None and self._gap is None:
            self._starts += 1
            if self._starts >= TRIAL:
                self._judge(now)

    def accept(self, began: float) -> None:
        """A request that began then was not refused."""
        if self._gap is not None and began >= self._refused_at:
            self._gap, self._since = None, began
            # It has room again: no need to sit out a gap that was as long as a minute's limit.
            self._next = min(self._next, began + WINDOW)

    def refuse(self, began: float, now: float, retry_after: float | None) -> bool:
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
        self._refusals += 1
        if self._refusals <= TRIAL * (MOST_NOISE if self._trial else 3 * self._noise):
            return False
        self._cut(now)
        return True

    def _judge(self, now: float) -> None:
        """Look at the last starts: did the refusals go away when we went slower?"""
        share = self._refusals / self._starts
        trial, self._trial = self._trial, False
        self._starts = self._refusals = 0
        if not trial:
            # Never upwards: a service that refuses ever more is being asked too much.
            self._noise = min(self._noise, 0.8 * self._noise + 0.2 * share)
        elif 2 / TRIAL <= share <= MOST_NOISE and self._before / 2 <= share <= 2 * self._before:
            self._noise, self._known_well, self._since = share, False, now
        elif share:
            self._cut(now)
        self._before = share if trial else 0.0

    def _cut(self, now: float) -> None:
        """Go on at the rate that was accepted."""
        self._known_well = self._rate is not None and now - self._since > WINDOW
        self._rate = self._accepted_rate(now)
        self._gap = 2 / self._rate
        self._since = self._refused_at = now
        self._next = now + self._gap
        self._starts = self._refusals = 0
        self._trial = True

    def _accepted_rate(self, now: float) -> float:
        """Starts a second that were not refused, lately: at the present pace, if that will do."""
        present = min(WINDOW, max(WINDOW / 100, now - self._since))
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
        elif self._rate is not None:
            quiet, until_double = (QUIET, SLOWLY) if self._known_well else (0.0, QUICKLY)
            grown = max(0.0, (now - self._since - quiet) / until_double) ** 3
            gaps.append(1 / (self._rate * (SAFE + grown)))
        return max(gaps, default=None)
