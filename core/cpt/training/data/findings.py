"""What is wrong with pairs, found before a model is trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import attrs

from cpt.errors import CptError
from cpt.training.kinds import ERROR, KINDS, severity_of

MOST_KEPT = 5
"""Findings of a kind that are kept; the others are only counted."""


@attrs.frozen
class Finding:
    """One thing that is wrong with one pair."""

    pair: str
    """The pair's id; empty if it is of the whole set."""
    problem: str
    """A key of `KINDS`."""
    detail: str = ""

    @property
    def dropped(self) -> bool:
        return KINDS[self.problem].dropped


@attrs.frozen(kw_only=True)
class Lengths:
    """Tokens of the pairs that can be trained on."""

    prompt_tokens: float
    """Mean, as are those of the answers."""
    chosen_tokens: float
    rejected_tokens: float
    chosen_longer: float
    """Share of the pairs whose chosen side is longer; far from 0.5, length is learned."""
    longest: int
    """Tokens of the longest prompt with its answer."""


@attrs.define(eq=False)
class Mean:
    """A mean over what comes one by one."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float) -> None:
        self.merge(Mean(value, 1))

    def merge(self, later: Mean) -> None:
        self.total += later.total
        self.count += later.count

    @property
    def value(self) -> float:
        """0 if nothing came."""
        return self.total / (self.count or 1)


@attrs.define(eq=False)
class TokenCounts:
    """Tokens of the pairs that can be trained on."""

    prompt: Mean = attrs.field(factory=Mean)
    chosen: Mean = attrs.field(factory=Mean)
    rejected: Mean = attrs.field(factory=Mean)
    longer: Mean = attrs.field(factory=Mean)
    """1 for each pair whose chosen side has more tokens, else 0."""
    longest: int = 0

    def add(self, prompt: int, chosen: int | None, rejected: int | None) -> None:
        """Count a pair, or a single answer, whose other side is None."""
        self.prompt.add(prompt)
        for answer, mean in ((chosen, self.chosen), (rejected, self.rejected)):
            if answer is not None:
                mean.add(answer)
        if chosen is not None and rejected is not None:
            self.longer.add(chosen > rejected)
        self.longest = max(self.longest, prompt + max(chosen or 0, rejected or 0))

    def merge(self, later: TokenCounts) -> None:
        for name in ("prompt", "chosen", "rejected", "longer"):
            getattr(self, name).merge(getattr(later, name))
        self.longest = max(self.longest, later.longest)

    def lengths(self) -> Lengths | None:
        """None if nothing was counted."""
        if not self.prompt.count:
            return None
        return Lengths(
            prompt_tokens=self.prompt.value,
            chosen_tokens=self.chosen.value,
            rejected_tokens=self.rejected.value,
            chosen_longer=self.longer.value,
            longest=self.longest,
        )


@attrs.define(eq=False)
class Findings:
    """Findings that come one by one: how many of each kind, and the first few."""

    counts: Counter[str] = attrs.field(factory=Counter)
    first: list[Finding] = attrs.field(factory=list)

    def add(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.counts[finding.problem] += 1
            if self.counts[finding.problem] <= MOST_KEPT:
                self.first.append(finding)

    def merge(self, later: Findings) -> None:
        """Count findings that come after these."""
        kept = Counter(self.counts)
        for finding in later.first:
            kept[finding.problem] += 1
            if kept[finding.problem] <= MOST_KEPT:
                self.first.append(finding)
        self.counts.update(later.counts)

    def add_of_set(self, problem: str, count: int, first: Iterable[Finding]) -> None:
        """Findings that are known all at once."""
        if count:
            self.counts[problem] += count
            self.first += list(first)[:MOST_KEPT]


@attrs.frozen(kw_only=True)
class Diagnosis:
    """What was found in a set of pairs, as plain data."""

    pairs: int
    """Pairs that were looked at."""
    kept: int
    """Pairs that can be trained on."""
    counts: Mapping[str, int]
    """Pairs by kind of finding, those that are left out first."""
    findings: tuple[Finding, ...]
    """The first few of each kind."""
    contrast: Mapping[str, Any]
    """How far apart the two sides are: see `cpt.contrast`."""
    lengths: Lengths | None = None
    """None if there was no tokenizer."""
    day: str = ""
    """What chat templates that ask for the date were given, as YYYY-MM-DD."""

    @property
    def dropped(self) -> dict[str, int]:
        """Pairs that are left out, by reason."""
        return {name: count for name, count in self.counts.items() if KINDS[name].dropped}

    @property
    def noted(self) -> dict[str, int]:
        """Pairs that are trained on, by what was found of them."""
        return {name: count for name, count in self.counts.items() if not KINDS[name].dropped}

    def severities(self, allowed: Collection[str] = ()) -> dict[str, str]:
        """How bad each kind is that was found."""
        return {name: severity_of(name, allowed).value for name in self.counts}

    def example(self, problem: str) -> Finding:
        """The first finding of a kind."""
        return next(finding for finding in self.findings if finding.problem == problem)

    def plain(self) -> dict[str, Any]:
        """As `doctor.json` has it."""
        of_tokens = attrs.asdict(self.lengths) if self.lengths else {}
        return {
            "pairs": self.pairs,
            "kept": self.kept,
            "findings": [attrs.asdict(finding) for finding in self.findings],
            "counts": dict(self.counts),
            "contrast": dict(self.contrast),
            **of_tokens,
            "day": self.day,
        }


def in_order(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts in the order of the table."""
    return {name: counts[name] for name in KINDS if counts.get(name)}


def refuse_errors(diagnosis: Diagnosis, allowed: Collection[str]) -> None:
    """Raise `CptError` if a pair that would be trained on has an error that is not allowed."""
    errors = [name for name in diagnosis.noted if severity_of(name, allowed) is ERROR]
    if not errors:
        return
    worst = max(errors, key=lambda name: diagnosis.counts[name])
    counts = ", ".join(f"{name} {diagnosis.counts[name]}" for name in errors)
    example = diagnosis.example(worst)
    detail = example.detail and f" ({example.detail})"
    raise CptError(
        f"Of the {diagnosis.kept} pairs some are broken ({counts}). {worst}: "
        f"{KINDS[worst].meaning}; for example pair {example.pair}{detail}. `cpt doctor PAIRS --fix "
        f"OUT.jsonl` leaves them out; --train.allow {','.join(errors)} trains on them all the same."
    )


def refuse_none_left(diagnosis: Diagnosis) -> None:
    """Raise `CptError` if no pair can be trained on."""
    if diagnosis.kept:
        return
    if not diagnosis.pairs:
        raise CptError("There are no pairs to train on.")
    counts = ", ".join(f"{name} {count}" for name, count in diagnosis.dropped.items())
    worst = max(diagnosis.dropped, key=lambda name: diagnosis.dropped[name])
    first = diagnosis.example(worst)
    raise CptError(
        f"None of the {diagnosis.pairs} pairs can be trained on ({counts}). {worst}: "
        f"{KINDS[worst].meaning}; for example pair {first.pair}"
        f"{first.detail and f' ({first.detail})'}."
    )
