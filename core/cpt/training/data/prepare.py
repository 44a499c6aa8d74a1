"""From pairs to token ids: encode, drop what cannot be trained on, and report which and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import attrs
import numpy as np

from cpt.models import PLAIN, with_template
from cpt.training.data.checks.checkup import Checkup
from cpt.training.data.corpus import Corpus, corpus_of
from cpt.training.data.findings import Diagnosis, Finding, Lengths
from cpt.training.data.markers import words_of
from cpt.training.data.rendering import TemplateInputs
from cpt.training.data.sequences import TokenSequence
from cpt.training.data.tokens import Encoded, encode
from cpt.training.options import Training
from cpt.types import Pair

Sides = tuple[TokenSequence, TokenSequence]
"""The chosen and the rejected sequence of a pair."""


def examine(
    pairs: Iterable[Pair | Finding],
    tokenizer: Any,
    options: Training,
    vocabulary: int | None = None,
    checkup: Checkup | None = None,
) -> Diagnosis:
    """Report what is wrong with each pair; `vocabulary` is the number of ids the model knows."""
    examined = Examination.of(tokenizer, options, vocabulary, checkup=checkup)
    for _ in examined.each(pairs):
        pass
    return examined.diagnosis()


def prepare(
    pairs: Iterable[Pair | Finding],
    tokenizer: Any,
    options: Training,
    vocabulary: int | None = None,
    *,
    day: date | None = None,
) -> tuple[Corpus, Diagnosis]:
    """Encode pairs, drop those that cannot be trained on, and report which and why.

    A chat template that asks for the date is given `day`, or today.
    """
    examined = Examination.of(tokenizer, options, vocabulary, day=day)
    corpus = corpus_of(examined.each(pairs))
    return corpus, examined.diagnosis()


@attrs.define(eq=False, kw_only=True)
class Examination:
    """Pairs encoded and looked at one by one."""

    tokenizer: Any
    options: Training
    vocabulary: int | None
    inputs: TemplateInputs
    checkup: Checkup
    sums: list[int] = attrs.field(factory=lambda: [0, 0, 0, 0, 0])
    """Tokens of prompts, chosen and rejected sides; pairs with a longer chosen one; the longest."""

    @classmethod
    def of(
        cls,
        tokenizer: Any,
        options: Training,
        vocabulary: int | None,
        *,
        day: date | None = None,
        checkup: Checkup | None = None,
    ) -> Examination:
        tokenizer = with_template(tokenizer)
        inputs = TemplateInputs(options.chat_template_kwargs, day or date.today())
        checkup = checkup or Checkup(allowed=options.allow)
        checkup.words = words_of(tokenizer, inputs)
        return cls(
            tokenizer=tokenizer,
            options=options,
            vocabulary=vocabulary,
            inputs=inputs,
            checkup=checkup,
        )

    def each(self, pairs: Iterable[Pair | Finding]) -> Iterator[tuple[Pair, Sides]]:
        """The pairs that can be trained on, with their sequences."""
        for encoded in encode(self.checkup.incoming(pairs), self.tokenizer, self.inputs):
            if self.checkup.drops(encoded.pair):
                continue
            found = _sides(encoded, self.options, self.vocabulary)
            if isinstance(found, Finding):
                self.checkup.drop(found)
                continue
            self.checkup.keep(encoded.pair, _noted(encoded, self.tokenizer, self.options))
            self._count(*found)
            yield encoded.pair, found

    def _count(self, chosen: TokenSequence, rejected: TokenSequence) -> None:
        prompt, better, worse = len(chosen.prompt), len(chosen.answer), len(rejected.answer)
        for place, tokens in enumerate((prompt, better, worse, better > worse)):
            self.sums[place] += tokens
        self.sums[-1] = max(self.sums[-1], prompt + max(better, worse))

    def diagnosis(self) -> Diagnosis:
        """What was found, once all pairs were looked at."""
        pairs = len(self.checkup.kept) or 1
        prompt, chosen, rejected, longer = (total / pairs for total in self.sums[:4])
        lengths = Lengths(
            prompt_tokens=prompt,
            chosen_tokens=chosen,
            rejected_tokens=rejected,
            chosen_longer=longer,
            longest=self.sums[-1],
        )
        return self.checkup.diagnosis(lengths, self.inputs.day.isoformat())


def _sides(encoded: Encoded, options: Training, vocabulary: int | None) -> Sides | Finding:
    """The chosen and the rejected sequence, or the first reason not to train on the pair."""
    name = encoded.pair.id
    if problem := encoded.chosen.problem or encoded.rejected.problem:
        return Finding(name, "template", problem)
    if finding := _too_long(encoded, options):
        return finding
    left = options.max_length - len(encoded.prompt)
    chosen = TokenSequence(encoded.prompt, encoded.chosen.ids[:left])
    rejected = TokenSequence(encoded.prompt, encoded.rejected.ids[:left])
    if np.array_equal(chosen.answer, rejected.answer):
        return Finding(name, "identical")
    highest = max(int(ids.max()) for ids in (chosen.prompt, chosen.answer, rejected.answer))
    if vocabulary is not None and highest >= vocabulary:
        return Finding(name, "outside_vocabulary", f"id {highest} of {vocabulary}")
    return chosen, rejected


def _too_long(encoded: Encoded, options: Training) -> Finding | None:
    name, prompt = encoded.pair.id, len(encoded.prompt)
    limit = options.max_prompt_length or options.max_length - 1
    if prompt > limit:
        return Finding(name, "prompt_too_long", f"{prompt} tokens, limit {limit}")
    lengths = [prompt + len(side.ids) for side in (encoded.chosen, encoded.rejected)]
    over = sum(length > options.max_length for length in lengths)
    detail = f"{lengths[0]} and {lengths[1]} tokens, limit {options.max_length}"
    if over and not options.truncate:
        return Finding(name, "answer_too_long", detail)
    return Finding(name, "one_side_too_long", detail) if over == 1 else None


def _noted(encoded: Encoded, tokenizer: Any, options: Training) -> Iterator[Finding]:
    """What the tokens of a pair show that can be trained on."""
    sides = (encoded.chosen, encoded.rejected)
    left = options.max_length - len(encoded.prompt)
    bos = tokenizer.bos_token_id
    noted = {
        "boundary_merge": any(side.merged for side in sides),
        "eos_added": not all(side.ended for side in sides),
        "rewritten": any(side.rewritten for side in sides),
        "double_bos": bos is not None and encoded.prompt[:2].tolist() == [bos, bos],
        "truncated": any(len(side.ids) > left for side in sides),
        "tools_left_out": encoded.left_out,
        "plain_template": tokenizer.chat_template.endswith(PLAIN),
    }
    yield from (Finding(encoded.pair.id, problem) for problem, is_so in noted.items() if is_so)
