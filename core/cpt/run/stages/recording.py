"""Pairs and outcomes on their way into the run folder, through the filters."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from cpt.files import writing_lines
from cpt.run.spool import Spool
from cpt.run.stage import Run
from cpt.run.stages.card import Card
from cpt.run.stages.filtering import filtered
from cpt.run.stages.outcomes import Counts, Made
from cpt.statistics import Judgement, JudgementCounts
from cpt.types import Pair

OUTCOMES = "outcomes.jsonl"


@attrs.define
class Recorder:
    """Takes what became of each prompt, in order, and writes it: at once if there is no filter."""

    run: Run
    write: Callable[[Pair], None]
    write_line: Callable[[Mapping[str, Any]], object]
    made: Counts = attrs.field(factory=Counts)
    """What there is before the filters."""
    left: Counts = attrs.field(factory=Counts)
    """What was written."""
    judged: JudgementCounts = attrs.field(factory=JudgementCounts)
    """How the judge of the pairs that were written judges."""
    card: Card = attrs.field(factory=Card)
    """What its card says of the pairs that were written."""
    emptied: str = ""
    """Which filter left nothing, and why."""
    waiting: Spool[Made] | None = None
    """What the filters will go through when all of it is there."""

    def add(self, made: Made) -> None:
        self.made.add(made.outcome)
        if self.waiting is None:
            self._write([made])
        else:
            self.waiting.add(made)

    def finish(self, *, sift: bool = True) -> None:
        """Write what waits, without what the filters drop. Raises `WrongReturn`."""
        if self.waiting is None:
            return
        if sift and self.made.pairs:
            self.waiting, self.emptied = filtered(
                self.run.config.filters, self.waiting, self.run.path
            )
        self._write(self.waiting)

    def summary(self) -> dict[str, Any]:
        """What was written, in counts; of judged pairs, the biases of their judge."""
        biases = self.judged.biases()
        return self.left.plain() | ({"judged": biases} if biases else {})

    def _write(self, every: Iterable[Made]) -> None:
        for made in every:
            for pair in made.pairs:
                self.write(pair)
                if "judge" in pair.info:
                    self.judged.add(Judgement.of_pair(pair))
                self.card.add(pair)
            self.write_line(attrs.asdict(made.outcome))
            self.left.add(made.outcome)


@contextmanager
def recording(run: Run, write: Callable[[Pair], None]) -> Iterator[Recorder]:
    """The outcomes are whole after the block, or not there; `write` takes the pairs."""
    waiting: Spool[Made] | None = Spool.in_folder(run.path) if run.config.filters else None
    with writing_lines(run.path / OUTCOMES) as write_line:
        recorder = Recorder(run, write, write_line, waiting=waiting)
        try:
            yield recorder
        finally:
            if recorder.waiting is not None:
                recorder.waiting.close()
