"""Pairs to token ids: encode, drop what cannot be trained on, and say which and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from cpt.models import with_template
from cpt.training.data.corpus import Corpus, corpus_of
from cpt.training.data.findings import Finding, Report
from cpt.training.data.rows import Row
from cpt.training.data.tokens import Encoded, encode
from cpt.training.options import Training
from cpt.types import Pair


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
