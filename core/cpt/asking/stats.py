"""Counts of what was asked, what came back, and what it took."""

from __future__ import annotations

from collections import Counter
from typing import Any

import attrs

from cpt.types import Response, Usage
from cpt.types.outcome import NOT_ANSWERED


@attrs.define
class Stats:
    """Counts of one run, kept as it goes."""

    items: int = 0
    """Items that are done: what the answers are for, such as prompts."""
    from_journal: int = 0
    """Answers that were already in the journal."""
    kept: Counter[str] = attrs.field(factory=Counter)
    """The same by how they ended."""
    sent: int = 0
    """Requests that went out, `retries` among them."""
    retries: int = 0
    """Requests that went out again."""
    in_flight: int = 0
    generating: int = 0
    """Tokens so far of answers of local models that are not finished."""
    outcomes: Counter[str] = attrs.field(factory=Counter)
    """New answers by how they ended."""
    errors: Counter[str] = attrs.field(factory=Counter)
    """Attempts that failed, by kind."""
    unfinished: int = 0
    """Requests without a final outcome: the next run asks them again."""
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    """US dollars for new answers whose price is known."""
    unpriced: int = 0
    """New answers whose price is unknown."""

    @property
    def done(self) -> int:
        return self.from_journal + self.outcomes.total()

    @property
    def incomplete(self) -> dict[str, int]:
        """Requests, new and kept, that have no whole answer for good: see `asking.again`."""
        ended = self.kept + self.outcomes
        return {outcome.value: ended[outcome] for outcome in NOT_ANSWERED if ended[outcome]}

    def count(self, response: Response, cost: float | None) -> None:
        """Add a new answer."""
        self.outcomes[response.outcome] += 1
        self.add(response.usage)
        self.cost += cost or 0.0
        self.unpriced += cost is None

    def add(self, usage: Usage) -> None:
        self.input_tokens += usage.input_tokens
        self.cached_tokens += usage.cached_tokens
        self.output_tokens += usage.output_tokens

    def left(self) -> dict[str, Any]:
        """What another run may ask again, for the summary of a stage; nothing where all is said."""
        counts = {"unfinished": self.unfinished, "incomplete": self.incomplete}
        return {name: count for name, count in counts.items() if count}

    def plain(self) -> dict[str, Any]:
        """What the run did, for a summary; `cost` is None where no price is known."""
        return {
            "from_journal": self.from_journal,
            "requests": self.sent,
            "retries": self.retries,
            "unfinished": self.unfinished,
            "input_tokens": self.input_tokens,
            "cached_tokens": self.cached_tokens,
            "output_tokens": self.output_tokens,
            "cost": None if self.unpriced and not self.cost else round(self.cost, 6),
            "unpriced": self.unpriced,
        }
