"""Pairs of a source examined, on all cores if there are many: what `cpt doctor` says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from cpt.contrast import ContrastOfSet, Tokens
from cpt.data import Row, Unusable, read_prompts
from cpt.data.pairs import pair_or_unusable, rows_of_pairs
from cpt.processes import in_processes
from cpt.training.data.checks.checkup import Checkup
from cpt.training.data.checks.overlap import Evaluated
from cpt.training.data.findings import Diagnosis, Finding
from cpt.training.options import Training
from cpt.types import Pair

if TYPE_CHECKING:
    from cpt.training.data.prepare import Examination

AT_ONCE = 512
"""Rows that are examined together."""
FEW = 8
"""Blocks that this process examines before others are started, which takes them seconds."""


@attrs.frozen(kw_only=True)
class Examiner:
    """What is looked for in pairs; it can be sent to another process."""

    train: Training
    model: Path | None = None
    """The folder whose tokenizer makes tokens of the pairs; None looks at texts alone."""
    eval_prompts: str | None = None
    """Prompts that must not be among those of the pairs."""
    jaccard_of: Tokens = "word"
    levenshtein_of: Tokens = "character"
    day: date = attrs.field(factory=date.today)

    def checkup(self) -> Checkup:
        """One that has seen nothing yet."""
        contrast = ContrastOfSet(jaccard_of=self.jaccard_of, levenshtein_of=self.levenshtein_of)
        return Checkup(evaluated=self._evaluated, allowed=self.train.allow, contrast=contrast)

    def __call__(self, rows: Sequence[Row]) -> Checkup:
        """What is wrong with these rows. Raises `BadData`."""
        checkup, found = self.checkup(), map(_pair_or_finding, rows)
        if self.model is not None:
            for _ in self._as_tokens.with_checkup(checkup).each(found):
                pass
        else:
            for pair in checkup.incoming(found):
                if not checkup.drops(pair):
                    checkup.keep(pair)
        checkup.evaluated = None  # whoever gets it has no use for that
        return checkup

    @cached_property
    def _evaluated(self) -> Evaluated | None:
        return Evaluated.of(read_prompts(self.eval_prompts)) if self.eval_prompts else None

    @cached_property
    def _as_tokens(self) -> Examination:
        from cpt.training.planning.encoder import PairEncoder

        assert self.model is not None
        return PairEncoder.of(self.model, self.train).examination(self.day)


def examine_source(source: str | Path, examiner: Examiner) -> tuple[Checkup, Diagnosis]:
    """What is wrong with the pairs of a source. Raises `BadData`."""
    whole, blocks = examiner.checkup(), _blocks(rows_of_pairs(source))
    for block in islice(blocks, FEW):
        whole.merge(examiner(block))
    for examined in in_processes(attrs.evolve(examiner), blocks):
        whole.merge(examined)
    return whole, whole.diagnosis(examiner.day.isoformat() if examiner.model else "")


def _blocks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while block := list(islice(rows, AT_ONCE)):
        yield block


def _pair_or_finding(row: Row) -> Pair | Finding:
    found = pair_or_unusable(row)
    return Finding(found.id, found.reason, found.detail) if isinstance(found, Unusable) else found
