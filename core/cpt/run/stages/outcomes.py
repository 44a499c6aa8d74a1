"""What became of prompts and pairs, as records and in counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import attrs

from cpt.types import Pair

KEPT = "kept"


@attrs.frozen
class Dropped:
    """One pair that was not kept, or not made."""

    pair: str
    """Its id; empty if it was not made."""
    reason: str
    detail: str = ""


@attrs.frozen
class PromptOutcome:
    """What became of one prompt."""

    prompt_id: str
    outcome: str
    """`kept` if it gave a pair, else why it gave none."""
    pairs: int = 0
    detail: str = ""
    raw: str = ""
    """The text that was refused, whole."""
    dropped: tuple[Dropped, ...] = ()


@attrs.frozen
class Made:
    """The pairs of one prompt, or one that was given, and the outcome."""

    pairs: tuple[Pair, ...]
    outcome: PromptOutcome


@attrs.define
class Counts:
    """What became of all prompts so far."""

    pairs: int = 0
    outcomes: Counter[str] = attrs.field(factory=Counter)
    dropped: Counter[str] = attrs.field(factory=Counter)
    first: str = ""
    """The detail of the first outcome that has one."""

    def add(self, outcome: PromptOutcome) -> None:
        self.first = self.first or outcome.detail
        self.pairs += outcome.pairs
        self.outcomes[outcome.outcome] += 1
        self.dropped.update(pair.reason for pair in outcome.dropped)

    @property
    def why_none(self) -> str:
        """Why there is no pair: every outcome, and a detail of one."""
        first = f"; for example: {self.first}" if self.first else ""
        return f"{listed(self.outcomes)}{first}" if self.outcomes else "no prompt"

    def plain(self) -> dict[str, Any]:
        return {
            "pairs": self.pairs,
            "dropped": dict(self.dropped),
            "outcomes": dict(self.outcomes),
        }


def listed(counts: Mapping[str, int]) -> str:
    """Reasons as an error tells them: `3 too_long, 1 no_answer`."""
    return ", ".join(f"{count} {reason}" for reason, count in counts.items())
