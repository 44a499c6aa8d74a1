"""What is wrong with pairs, found before a model is trained on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from cpt.errors import CptError
from cpt.training.corpus import Corpus, corpus_of
from cpt.training.options import Training
from cpt.training.rows import Row
from cpt.training.tokens import Encoded, encode, with_template
from cpt.types import Pair

REFUSED: Mapping[str, str] = {
    "template": "the chat template refuses the conversation or loses the answer",
    "empty": "a side has no text",
    "identical": "both sides are the same",
    "prompt_too_long": "the prompt has more tokens than --train.max-prompt-length, or leaves no "
    "room for an answer in --train.max-length",
    "answer_too_long": "a prompt and an answer to it have more tokens than --train.max-length, or "
    "than the model can take",
    "one_side_too_long": "one side alone is longer than --train.max-length: cutting it would teach "
    "where texts are cut",
    "outside_vocabulary": "the tokenizer makes ids that the model has no embedding for",
}
"""What a pair is dropped for."""

NOTED: Mapping[str, str] = {
    "boundary_merge": "prompt and answer would have shared a token; encoded apart, as asked",
    "eos_added": "the template does not end the answer; EOS appended",
    "rewritten": "the template does not continue its own prompt; the answer put behind it",
    "double_bos": "the prompt begins with BOS twice",
    "cut_off": "a side stopped at a length limit, and is trained on as if it were whole",
    "truncated": "both answers cut to --train.max-length, so neither ends with EOS",
    "repeated": "the same pair was there before",
    "contradicted": "another pair prefers the same two answers the other way round",
}
"""What a pair is kept in spite of."""


@attrs.frozen
class Finding:
    """One thing that is wrong with one pair."""

    pair: str
    """The pair's id."""
    problem: str
    """A key of `REFUSED` or `NOTED`."""
    detail: str = ""

    @property
    def refused(self) -> bool:
        return self.problem in REFUSED


@attrs.frozen(kw_only=True)
class Report:
    """What was found in a set of pairs, as plain data."""

    pairs: int
    """Pairs that were looked at."""
    kept: int
    """Pairs that can be trained on."""
    findings: tuple[Finding, ...]
    prompt_tokens: float
    """Mean over the kept pairs, as are the other lengths."""
    chosen_tokens: float
    rejected_tokens: float
    chosen_longer: float
    """Share of the kept pairs whose chosen side is longer; far from 0.5, length is learned."""
    longest: int
    """Tokens of the longest kept prompt with its answer."""

    @property
    def counts(self) -> dict[str, int]:
        """Pairs by problem, those that were dropped first."""
        counted = Counter(each.problem for each in self.findings)
        return {name: counted[name] for name in [*REFUSED, *NOTED] if counted[name]}

    @property
    def refused(self) -> dict[str, int]:
        """Dropped pairs by reason."""
        return {name: count for name, count in self.counts.items() if name in REFUSED}

    @property
    def noted(self) -> dict[str, int]:
        """Kept pairs by what they were kept in spite of."""
        return {name: count for name, count in self.counts.items() if name in NOTED}


def examine(
    pairs: Sequence[Pair], tokenizer: Any, options: Training, vocabulary: int | None = None
) -> Report:
    """Say what is wrong with each pair; `vocabulary` is the number of ids that the model knows."""
    return prepare(pairs, tokenizer, options, vocabulary)[1]


def prepare(
    pairs: Sequence[Pair], tokenizer: Any, options: Training, vocabulary: int | None = None
) -> tuple[Corpus, Report]:
    """Encode pairs, drop those that cannot be trained on, and say which and why."""
    tokenizer = with_template(tokenizer)
    findings: list[Finding] = []
    kept: list[Pair] = []
    rows: list[tuple[Row, Row]] = []
    for pair, encoded in zip(pairs, encode(pairs, tokenizer), strict=True):
        found = _rows(pair, encoded, options, vocabulary)
        if isinstance(found, Finding):
            findings.append(found)
            continue
        findings += _notes(pair, encoded, tokenizer, options)
        kept.append(pair)
        rows.append(found)
    corpus = corpus_of(kept, rows)
    findings += _across(corpus)
    return corpus, _report(len(pairs), corpus, findings)


def refuse_none_left(report: Report) -> None:
    """Raise `CptError` if no pair can be trained on."""
    if report.kept:
        return
    if not report.pairs:
        raise CptError("There are no pairs to train on.")
    counts = ", ".join(f"{name} {count}" for name, count in report.refused.items())
    worst = max(report.refused, key=lambda name: report.refused[name])
    first = next(each for each in report.findings if each.problem == worst)
    raise CptError(
        f"None of the {report.pairs} pairs can be trained on ({counts}). {worst}: "
        f"{REFUSED[worst]}; for example pair {first.pair}{first.detail and f' ({first.detail})'}."
    )


def _rows(
    pair: Pair, encoded: Encoded, options: Training, vocabulary: int | None
) -> tuple[Row, Row] | Finding:
    """What a pair is trained on as, or the first reason not to."""
    if refusal := _refusal(pair, encoded, options):
        return refusal
    room = options.max_length - len(encoded.prompt)
    chosen = Row(encoded.prompt, encoded.chosen.ids[:room])
    rejected = Row(encoded.prompt, encoded.rejected.ids[:room])
    if np.array_equal(chosen.answer, rejected.answer):
        return Finding(pair.id, "identical")
    highest = max(int(ids.max()) for ids in (chosen.prompt, chosen.answer, rejected.answer))
    if vocabulary is not None and highest >= vocabulary:
        return Finding(pair.id, "outside_vocabulary", f"id {highest} of {vocabulary}")
    return chosen, rejected


def _refusal(pair: Pair, encoded: Encoded, options: Training) -> Finding | None:
    """The first reason, if any, that no rows can be made of a pair."""
    sides = (encoded.chosen, encoded.rejected)
    if problem := next((side.problem for side in sides if side.problem), ""):
        return Finding(pair.id, "template", problem)
    texts = (pair.chosen.text.strip(), pair.rejected.text.strip())
    if not all(texts):
        return Finding(pair.id, "empty", "rejected" if texts[0] else "chosen")
    return _too_long(pair, encoded, options)


def _too_long(pair: Pair, encoded: Encoded, options: Training) -> Finding | None:
    prompt = len(encoded.prompt)
    limit = options.max_prompt_length or options.max_length - 1
    if prompt > limit:
        return Finding(pair.id, "prompt_too_long", f"{prompt} tokens, limit {limit}")
    lengths = [prompt + len(side.ids) for side in (encoded.chosen, encoded.rejected)]
    over = sum(length > options.max_length for length in lengths)
    detail = f"{lengths[0]} and {lengths[1]} tokens, limit {options.max_length}"
    if over and not options.truncate:
        return Finding(pair.id, "answer_too_long", detail)
    return Finding(pair.id, "one_side_too_long", detail) if over == 1 else None


def _notes(pair: Pair, encoded: Encoded, tokenizer: Any, options: Training) -> Iterator[Finding]:
    sides = (encoded.chosen, encoded.rejected)
    room = options.max_length - len(encoded.prompt)
    bos = tokenizer.bos_token_id
    noted = {
        "boundary_merge": any(side.merged for side in sides),
        "eos_added": not all(side.ended for side in sides),
        "rewritten": any(side.rewritten for side in sides),
        "double_bos": bos is not None and encoded.prompt[:2].tolist() == [bos, bos],
        "cut_off": "cut_off" in (pair.chosen.outcome, pair.rejected.outcome),
        "truncated": any(len(side.ids) > room for side in sides),
    }
    yield from (Finding(pair.id, problem) for problem, is_so in noted.items() if is_so)


def _across(corpus: Corpus) -> Iterator[Finding]:
    """What is wrong only because of another pair."""
    sides = list(zip(corpus.chosen.tolist(), corpus.rejected.tolist(), strict=True))
    seen: set[tuple[int, int]] = set()
    everywhere = set(sides)
    for pair, (chosen, rejected) in zip(corpus.pairs, sides, strict=True):
        if (chosen, rejected) in seen:
            yield Finding(pair.id, "repeated")
        if (rejected, chosen) in everywhere:
            yield Finding(pair.id, "contradicted")
        seen.add((chosen, rejected))


def _report(pairs: int, corpus: Corpus, findings: Sequence[Finding]) -> Report:
    prompt, chosen, rejected = (
        np.array([len(getattr(corpus.sequences[place], part)) for place in side], dtype=float)
        for part, side in (
            ("prompt", corpus.chosen),
            ("answer", corpus.chosen),
            ("answer", corpus.rejected),
        )
    )

    def mean(values: Any) -> float:
        return float(values.mean()) if len(values) else 0.0

    return Report(
        pairs=pairs,
        kept=len(corpus.pairs),
        findings=tuple(findings),
        prompt_tokens=mean(prompt),
        chosen_tokens=mean(chosen),
        rejected_tokens=mean(rejected),
        chosen_longer=mean(chosen > rejected),
        longest=int((prompt + np.maximum(chosen, rejected)).max(initial=0)),
    )
