"""From pairs to token ids: encode, drop what cannot be trained on, and report which and why."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import numpy as np

from cpt.models.digests import tokenizer_digest
from cpt.models.tokenizers import PLAIN, with_template
from cpt.processes import in_processes
from cpt.roles import Loss
from cpt.training.data import kept
from cpt.training.data.checks.checkup import Checkup
from cpt.training.data.columns.blocks import Block, Files, Sides
from cpt.training.data.corpus import Arrays, Corpus
from cpt.training.data.findings import Diagnosis, Finding
from cpt.training.data.markers import words_of
from cpt.training.data.rendering.template import TemplateInputs
from cpt.training.data.sequences import TokenSequence
from cpt.training.data.tokens import Encoded, encode
from cpt.training.options import Training
from cpt.types import Pair
from cpt.types.stored import Stored

AT_ONCE = 512
"""Pairs that are prepared together."""
FEW = 16
"""Blocks that this process prepares before others are started, which takes them seconds."""


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
    pairs: Sequence[Pair],
    tokenizer: Any,
    options: Training,
    vocabulary: int | None = None,
    *,
    loss: Loss | None = None,
    day: date | None = None,
    checkup: Checkup | None = None,
    model: Path | None = None,
) -> tuple[Corpus, Diagnosis]:
    """Encode pairs, drop those that cannot be trained on, and report which and why.

    Single answers are dropped if a `loss` is given that cannot use them. A chat template that asks
    for the date is given `day`, or today. What is made of many stored pairs is kept in the cache of
    this machine, if the `model` is named that the tokenizer comes from.
    """
    examined = Examination.of(tokenizer, options, vocabulary, loss=loss, day=day, checkup=checkup)

    def make(files: Files) -> tuple[Arrays, Diagnosis]:
        return _prepared(pairs, examined, files)

    if model is None or not isinstance(pairs, Stored):
        return kept.temporary(pairs, make)
    return kept.cached(pairs, make, examined.identity(model), examined.inputs.day)


def _prepared(
    pairs: Sequence[Pair], examined: Examination, files: Files
) -> tuple[Arrays, Diagnosis]:
    whole, done = examined.checkup, list[Block]()
    for checkup, block in _blocks(pairs, _Preparing(examined, isinstance(pairs, Stored))):
        whole.merge(checkup)
        done.append(files.add(block))
    files.flush()
    places = np.asarray(whole.kept, dtype=np.int64)
    return Arrays.of(done, places), examined.diagnosis()


def _blocks(pairs: Sequence[Pair], prepare: _Preparing) -> Iterator[tuple[Checkup, Block]]:
    """What is made of the pairs, some at a time: on all cores if there are many."""
    starts = iter(range(0, max(1, len(pairs)), AT_ONCE))
    parts = (pairs[start : start + AT_ONCE] for start in starts)
    yield from map(prepare, islice(parts, FEW))
    many = len(pairs) > FEW * AT_ONCE and prepare.can_be_sent()
    yield from in_processes(prepare, parts) if many else map(prepare, parts)


@attrs.frozen
class _Preparing:
    """What is done with some pairs; it can be sent to another process."""

    examined: Examination
    facts: bool

    def __call__(self, pairs: Sequence[Pair]) -> tuple[Checkup, Block]:
        checkup = self.examined.checkup.another()
        each = self.examined.with_checkup(checkup).each(pairs)
        block = Block.of(each, facts=self.facts)
        return checkup, block

    def can_be_sent(self) -> bool:
        """Not if the tokenizer has parts that no other process can get."""
        try:
            return bool(pickle.dumps(self))
        except Exception:  # whatever code of the model's own raises
            return False


@attrs.frozen(kw_only=True)
class Singles:
    """Which single answers a loss can learn something from."""

    good: bool = True
    bad: bool = True

    @classmethod
    def of(cls, loss: Loss | None) -> Singles:
        if loss is None or loss.unpaired:
            return cls()
        return cls(good="rejected" not in loss.needs, bad=False)

    def useless(self, pair: Pair) -> Finding | None:
        """Why a single answer is left out."""
        usable = {None: True, True: self.good, False: self.bad}[pair.label]
        return None if usable else Finding(pair.id, "one_answer")


@attrs.define(eq=False, kw_only=True)
class Examination:
    """Pairs encoded and looked at one by one."""

    tokenizer: Any
    options: Training
    vocabulary: int | None
    inputs: TemplateInputs
    checkup: Checkup
    singles: Singles

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
            singles=Singles.of(loss),
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
            found = self.singles.useless(encoded.pair) or _sides(
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

    def identity(self, model: Path) -> dict[str, Any]:
        """All but the pairs that decides what is made of them, given the tokenizer's folder."""
        names = ("max_length", "max_prompt_length", "truncate", "chat_template_kwargs")
        dated = "strftime_now" in str(self.tokenizer.chat_template)
        return {
            "tokenizer": tokenizer_digest(model),
            "vocabulary": self.vocabulary,
            "singles": attrs.asdict(self.singles),
            "options": {name: getattr(self.options, name) for name in names},
            "day": self.inputs.day.isoformat() if dated else "",
        }


def _tokens_of(sides: Sides) -> tuple[int, int | None, int | None]:
    """Tokens of the prompt and of both answers; None for one that there is not."""
    prompt = next(len(side.prompt) for side in sides if side)
    chosen, rejected = (len(side.answer) if side else None for side in sides)
    return prompt, chosen, rejected


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
