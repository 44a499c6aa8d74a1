"""What a run cost, in money and in time; what nobody knows is not nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.asking.journal.queries import Charge, bill


@attrs.frozen(kw_only=True)
class Bill:
    """Every stage and author that was asked, those of the controls too."""

    lines: tuple[tuple[str, Charge], ...]
    """Each with the control it is of, `""` for the run itself."""

    @property
    def dollars(self) -> float | None:
        """As far as it is known; None if nothing is."""
        known = [charge.dollars for _, charge in self.lines if charge.dollars is not None]
        return sum(known) if known else None

    @property
    def unpriced(self) -> int:
        return sum(charge.unpriced for _, charge in self.lines)

    @property
    def answers(self) -> int:
        return sum(charge.answers for _, charge in self.lines)

    @property
    def input_tokens(self) -> int:
        return sum(charge.input_tokens for _, charge in self.lines)

    @property
    def output_tokens(self) -> int:
        return sum(charge.output_tokens for _, charge in self.lines)


def read_bill(run: Path) -> Bill:
    """The bill of the journals in a run folder."""
    return Bill(lines=tuple(_lines(run)))


def _lines(run: Path) -> Iterator[tuple[str, Charge]]:
    controls = sorted((run / "controls").glob("*/journal.sqlite"))
    own = run / "journal.sqlite"
    for journal in [*([own] if own.exists() else []), *controls]:
        for charge in bill(journal):
            yield "" if journal == own else journal.parent.name, charge


def seconds(stages: Mapping[str, Any]) -> tuple[tuple[str, float], ...]:
    """What each stage took, as far as it was done."""
    return tuple((name, stage["seconds"]) for name, stage in stages.items() if "seconds" in stage)
