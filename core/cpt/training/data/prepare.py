"""From pairs to token ids: encode, drop what cannot be trained on, and report which and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

import numpy as np

from cpt.models import PLAIN, with_template
from cpt.training.data.corpus import Corpus, corpus_of
from cpt.training.data.findings import Diagnosis, Finding
from cpt.training.data.markers import markers_of
from cpt.training.data.rendering import TemplateInputs
from cpt.training.data.sequences import TokenSequence
from cpt.training.data.thoughts import thinks
from cpt.training.data.tokens import Encoded, encode
from cpt.training.options import Training
from cpt.types import Pair


def examine(
    pairs: Sequence[Pair], tokenizer: Any, options: Training, vocabulary: int | None = None
) -> Diagnosis:
    """Report what is wrong with each pair; `vocabulary` is the number of ids the model knows."""
    return prepare(pairs, tokenizer, options, vocabulary)[1]


def prepare(
    pairs: Sequence[Pair],
    tokenizer: Any,
    options: Training,
    vocabulary: int | None = None,
    *,
    day: date | None = None,
) -> tuple[Corpus, Diagnosis]:
    """Encode pairs, drop those that cannot be trained on, and report which and why.

    A chat template that asks for the date is given `day`, or today.
    """
    tokenizer = with_template(tokenizer)
    day = day or date.today()
    inputs = TemplateInputs(options.chat_template_kwargs, day)
    marks = markers_of(tokenizer, inputs)
    findings: list[Finding] = []
    kept: list[Pair] = []
    sides: list[tuple[TokenSequence, TokenSequence]] = []
    for pair, encoded in zip(pairs, encode(pairs, tokenizer, inputs), strict=True):
        found = _sides(pair, encoded, options, vocabulary)
        if isinstance(found, Finding):
            findings.append(found)
            continue
        findings += _noted(pair, encoded, tokenizer, options, marks)
        kept.append(pair)
        sides.append(found)
    corpus = corpus_of(kept, sides)
    findings += _across(corpus)
    return corpus, _diagnose(len(pairs), corpus, findings, day)


def _sides(
    pair: Pair, encoded: Encoded, options: Training, vocabulary: int | None
) -> tuple[TokenSequence, TokenSequence] | Finding:
    """The chosen and the rejected sequence, or the first reason not to train on the pair."""
    if finding := _why_dropped(pair, encoded, options):
        return finding
    left = options.max_length - len(encoded.prompt)
    chosen = TokenSequence(encoded.prompt, encoded.chosen.ids[:left])
    rejected = TokenSequence(encoded.prompt, encoded.rejected.ids[:left])
    if np.array_equal(chosen.answer, rejected.answer):
        return Finding(pair.id, "identical")
    highest = max(int(ids.max()) for ids in (chosen.prompt, chosen.answer, rejected.answer))
    if vocabulary is not None and highest >= vocabulary:
        return Finding(pair.id, "outside_vocabulary", f"id {highest} of {vocabulary}")
    return chosen, rejected


def _why_dropped(pair: Pair, encoded: Encoded, options: Training) -> Finding | None:
    """The first reason, if any, that a pair cannot be trained on."""
    sides = (encoded.chosen, encoded.rejected)
    if problem := next((side.problem for side in sides if side.problem), ""):
        return Finding(pair.id, "template", problem)
    says = (pair.chosen.says_something, pair.rejected.says_something)
    if not all(says):
        return Finding(pair.id, "empty", "rejected" if says[0] else "chosen")
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


def _noted(
    pair: Pair, encoded: Encoded, tokenizer: Any, options: Training, marks: Sequence[str]
) -> Iterator[Finding]:
    sides = (encoded.chosen, encoded.rejected)
    better, worse = pair.chosen_score, pair.rejected_score
    left = options.max_length - len(encoded.prompt)
    bos = tokenizer.bos_token_id
    noted = {
        "boundary_merge": any(side.merged for side in sides),
        "eos_added": not all(side.ended for side in sides),
        "rewritten": any(side.rewritten for side in sides),
        "double_bos": bos is not None and encoded.prompt[:2].tolist() == [bos, bos],
        "cut_off": "cut_off" in (pair.chosen.outcome, pair.rejected.outcome),
        "truncated": any(len(side.ids) > left for side in sides),
        "thought_on_one_side": thinks(pair.chosen.message) != thinks(pair.rejected.message),
        "tools_left_out": encoded.left_out,
        "marker_in_text": any(
            mark in side.text for mark in marks for side in (pair.chosen, pair.rejected)
        ),
        "plain_template": tokenizer.chat_template.endswith(PLAIN),
        "scored_below": better is not None and worse is not None and better < worse,
    }
    yield from (Finding(pair.id, problem) for problem, is_so in noted.items() if is_so)


def _across(corpus: Corpus) -> Iterator[Finding]:
    """What is wrong because of another pair."""
    sides = list(zip(corpus.chosen.tolist(), corpus.rejected.tolist(), strict=True))
    seen: set[tuple[int, int]] = set()
    everywhere = set(sides)
    for pair, (chosen, rejected) in zip(corpus.pairs, sides, strict=True):
        if (chosen, rejected) in seen:
            yield Finding(pair.id, "repeated")
        if (rejected, chosen) in everywhere:
            yield Finding(pair.id, "contradicted")
        seen.add((chosen, rejected))


def _diagnose(pairs: int, corpus: Corpus, findings: Sequence[Finding], day: date) -> Diagnosis:
    prompt, chosen, rejected = (
        np.array([len(getattr(corpus.sequences[index], field)) for index in side], dtype=float)
        for field, side in (
            ("prompt", corpus.chosen),
            ("answer", corpus.chosen),
            ("answer", corpus.rejected),
        )
    )

    def mean(values: Any) -> float:
        return float(values.mean()) if len(values) else 0.0

    return Diagnosis(
        pairs=pairs,
        kept=len(corpus.pairs),
        findings=tuple(findings),
        prompt_tokens=mean(prompt),
        chosen_tokens=mean(chosen),
        rejected_tokens=mean(rejected),
        chosen_longer=mean(chosen > rejected),
        longest=int((prompt + np.maximum(chosen, rejected)).max(initial=0)),
        day=day.isoformat(),
    )
