"""Pairs looked at one by one, without a tokenizer: what is found is counted, not kept."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import attrs
import numpy as np

from cpt.contrast import Contrast, ContrastOfSet, contrast
from cpt.training.data.checks.across import Across, length_finding
from cpt.training.data.checks.overlap import Evaluated
from cpt.training.data.checks.texts import Words, dropped_for, found_in
from cpt.training.data.findings import Diagnosis, Finding, Findings, TokenCounts, in_order
from cpt.training.kinds import NOTE, severity_of
from cpt.types import Pair

UNKNOWN = "unknown"
"""The source of pairs that name none."""


def source_of(pair: Pair) -> str:
    """Where a pair comes from: the source that it or its prompt names, or else its pairer."""
    named = pair.info.get("source") or pair.prompt.info.get("source")
    return str(named or pair.pairer or UNKNOWN)


@attrs.define(eq=False, kw_only=True)
class Checkup:
    """What was found so far. Memory grows by some 40 bytes and the id of each pair."""

    words: Words = attrs.field(factory=Words)
    evaluated: Evaluated | None = None
    """Prompts that must not be among those of the pairs."""
    allowed: Collection[str] = ()
    """Kinds of findings that are no fault."""
    contrast: ContrastOfSet = attrs.field(factory=ContrastOfSet)
    left_out: list[Finding] | None = None
    """Why each pair is left out that cannot be trained on; not kept without a list."""
    tokens: TokenCounts = attrs.field(factory=TokenCounts, init=False)
    findings: Findings = attrs.field(factory=Findings, init=False)
    across: Across = attrs.field(factory=Across, init=False)
    faulty: bytearray = attrs.field(factory=bytearray, init=False)
    """For each row 1 if it has an error or a warning; complete after `diagnosis`."""
    kept: array[int] = attrs.field(factory=lambda: array("Q"), init=False)
    """Rows that can be trained on."""
    _under_way: deque[tuple[int, Contrast]] = attrs.field(factory=deque, init=False)
    """Pairs that came in and were not judged yet; they are judged in the same order."""

    def incoming(self, rows: Iterable[Pair | Finding]) -> Iterator[Pair]:
        """The pairs of rows; a row that gives none comes as the finding that says why."""
        for row in rows:
            self.faulty.append(isinstance(row, Finding))
            if isinstance(row, Finding):
                self.findings.add([row])
            else:
                self._under_way.append((len(self.faulty) - 1, self._contrast_of(row)))
                yield row

    def _contrast_of(self, pair: Pair) -> Contrast:
        """Its measures in characters, counted as asked for unless it is a single answer."""
        sides = (pair.chosen.text, pair.rejected.text)
        if pair.label is not None:
            return contrast(*sides)
        counted = self.contrast.add(*sides, source_of(pair))
        return counted if self.contrast.levenshtein_of == "character" else contrast(*sides)

    def drops(self, pair: Pair) -> bool:
        """Whether the texts of a pair cannot be trained on; then it is judged."""
        if problem := dropped_for(pair):
            self.drop(Finding(pair.id, problem))
        return bool(problem)

    def drop(self, finding: Finding) -> None:
        """Judge a pair that cannot be trained on."""
        self.findings.add([finding])
        if self.left_out is not None:
            self.left_out.append(finding)
        self.faulty[self._under_way.popleft()[0]] = True

    def keep(self, pair: Pair, of_tokens: Iterable[Finding] = ()) -> None:
        """Judge a pair that can be trained on, with what else was found of it."""
        row, contrast = self._under_way.popleft()
        findings = [*found_in(pair, contrast, self.words), *of_tokens]
        if self.evaluated and self.evaluated.has(pair.prompt):
            findings.append(Finding(pair.id, "in_evaluation"))
        self.findings.add(findings)
        self.across.add(pair)
        self.kept.append(row)
        self.faulty[row] = any(self._is_fault(finding.problem) for finding in findings)

    def another(self) -> Checkup:
        """One that looks for the same and has seen nothing yet."""
        return Checkup(
            words=self.words,
            evaluated=self.evaluated,
            allowed=self.allowed,
            contrast=self.contrast.another(),
            left_out=None if self.left_out is None else [],
        )

    def merge(self, later: Checkup) -> None:
        """Count the rows of another one, which come after these."""
        if self.left_out is not None:
            self.left_out += later.left_out or ()
        self.kept.extend(len(self.faulty) + row for row in later.kept)
        self.faulty += later.faulty
        self.findings.merge(later.findings)
        self.across.merge(later.across)
        self.contrast.merge(later.contrast)
        self.tokens.merge(later.tokens)

    def diagnosis(self, day: str = "") -> Diagnosis:
        """What was found, once all pairs were looked at."""
        contrast = self.contrast.plain()
        self._add_of_set(contrast)
        return Diagnosis(
            pairs=len(self.faulty),
            kept=len(self.kept),
            counts=in_order(self.findings.counts),
            findings=tuple(self.findings.first),
            contrast=contrast,
            lengths=self.tokens.lengths(),
            day=day,
        )

    def _add_of_set(self, contrast: dict[str, Any]) -> None:
        rows = np.asarray(self.kept, dtype=np.int64)
        for problem, mask in self.across.masks().items():
            self.findings.add_of_set(problem, int(mask.sum()), self.across.findings(problem, mask))
            for row in rows[mask].tolist() if self._is_fault(problem) else ():
                self.faulty[row] = True
        if found := length_finding(contrast):
            self.findings.add_of_set("length_tells", found[0], [found[1]])

    def _is_fault(self, problem: str) -> bool:
        return severity_of(problem, self.allowed) is not NOTE
