"""What a run cost, in money and in time. An unknown price is None, not zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.asking.journal.queries import Charge, bill


@attrs.frozen(kw_only=True)
class Costs:
    """What every author was paid in every stage, controls included."""

    charges: tuple[tuple[str, Charge], ...]
    """Each with the name of its control, `""` for the run itself."""

    @property
    def dollars(self) -> float | None:
        """The sum of the known prices; None if none is known."""
        known = [charge.dollars for _, charge in self.charges if charge.dollars is not None]
        return sum(known) if known else None

    @property
    def unpriced(self) -> int:
        """Answers of unknown price."""
        return sum(charge.unpriced for _, charge in self.charges)

    @property
    def answers(self) -> int:
        return sum(charge.answers for _, charge in self.charges)

    @property
    def input_tokens(self) -> int:
        return sum(charge.input_tokens for _, charge in self.charges)

    @property
    def output_tokens(self) -> int:
        return sum(charge.output_tokens for _, charge in self.charges)


def read_costs(run: Path) -> Costs:
    """The costs in the journals of a run folder."""
    return Costs(charges=tuple(_charges(run)))


def _charges(run: Path) -> Iterator[tuple[str, Charge]]:
    controls = sorted((run / "controls").glob("*/journal.sqlite"))
    own = run / "journal.sqlite"
    for journal in [*([own] if own.exists() else []), *controls]:
        for charge in bill(journal):
            yield "" if journal == own else journal.parent.name, charge


def seconds(stages: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """How long each finished stage took."""
    return tuple((name, stage["seconds"]) for name, stage in stages.items() if "seconds" in stage)
