"""From pairs to token ids: encode, drop what cannot be trained on, and report which and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import attrs
import numpy as np

from cpt.models.tokenizers import PLAIN, with_template
from cpt.roles import Loss
from cpt.training.data.checks.checkup import Checkup
from cpt.training.data.corpus import Corpus, Sides, corpus_of
from cpt.training.data.findings import Diagnosis, Finding
from cpt.training.data.markers import words_of
from cpt.training.data.rendering.template import TemplateInputs
from cpt.training.data.sequences import TokenSequence
from cpt.training.data.tokens import Encoded, encode
from cpt.training.options import Training
from cpt.types import Pair


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
    loss: Loss | None = None,
    day: date | None = None,
    checkup: Checkup | None = None,
) -> tuple[Corpus, Diagnosis]:
    """Encode pairs, drop those that cannot be trained on, and report which and why.

    Single answers are dropped if a `loss` is given that cannot use them. A chat template that asks
    for the date is given `day`, or today.
    """
    examined = Examination.of(tokenizer, options, vocabulary, loss=loss, day=day, checkup=checkup)
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
    loss: Loss | None = None

    @classmethod
    def of(
        cls,
        tokenizer: Any,
        options: Training,
        vocabulary: int | None,
        *,
        loss: Loss | None = None,
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
            loss=loss,
        )

    def with_checkup(self, checkup: Checkup) -> Examination:
        """The same that counts elsewhere."""
        checkup.words = self.checkup.words
        return attrs.evolve(self, checkup=checkup)

    def each(self, pairs: Iterable[Pair | Finding]) -> Iterator[tuple[Pair, Sides]]:
        """The pairs that can be trained on, with their sequences."""
        for encoded in encode(self.checkup.incoming(pairs), self.tokenizer, self.inputs):
            if self.checkup.drops(encoded.pair):
                continue
            found = _useless(encoded.pair, self.loss) or _sides(
                encoded, self.options, self.vocabulary
            )
            if isinstance(found, Finding):
                self.checkup.drop(found)
                continue
            self.checkup.keep(encoded.pair, _noted(encoded, self.tokenizer, self.options))
            self.checkup.tokens.add(*_tokens_of(found))
            yield encoded.pair, found

    def diagnosis(self) -> Diagnosis:
        """What was found, once all pairs were looked at."""
        return self.checkup.diagnosis(self.inputs.day.isoformat())


def _tokens_of(sides: Sides) -> tuple[int, int | None, int | None]:
    """Tokens of the prompt and of both answers; None for one that there is not."""
    prompt = next(len(side.prompt) for side in sides if side)
    chosen, rejected = (len(side.answer) if side else None for side in sides)
    return prompt, chosen, rejected


def _useless(pair: Pair, loss: Loss | None) -> Finding | None:
    """A single answer that the loss can learn nothing from."""
    if pair.label is None or loss is None or loss.unpaired:
        return None
    imitated = pair.label and "rejected" not in loss.needs
    return None if imitated else Finding(pair.id, "one_answer")


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
    label = encoded.pair.label
    if label is None and np.array_equal(chosen.answer, rejected.answer):
        return Finding(name, "identical")
    highest = max(int(ids.max()) for ids in (chosen.prompt, chosen.answer, rejected.answer))
    if vocabulary is not None and highest >= vocabulary:
        return Finding(name, "outside_vocabulary", f"id {highest} of {vocabulary}")
    return None if label is False else chosen, None if label else rejected


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
