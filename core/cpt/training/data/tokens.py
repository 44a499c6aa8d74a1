"""From text to token ids: each prompt once, each answer as it follows its prompt."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any

import attrs
import numpy as np

from cpt.training.data.rendering.template import Continuation, Conversation, TemplateInputs, render
from cpt.training.data.sequences import TokenIds
from cpt.types import Message, Pair

AT_ONCE = 128
"""Pairs that are encoded together."""
MOST_AT_ONCE = 8 * AT_ONCE
"""The same where all of them have one prompt."""
AHEAD = 2
"""Blocks of pairs that are being encoded at a time."""

STARTS = ("a", "b", "0", ".", ":", "\n")
"""Texts that another may follow without a token in common."""
BLANKS = ("▁", "Ġ")
"""How a token begins that stands for a blank and what follows it."""

IDS_ALONE: Mapping[str, bool] = {
    "add_special_tokens": False,
    "return_attention_mask": False,
    "return_token_type_ids": False,
    "verbose": False,
}


@attrs.frozen(eq=False, kw_only=True)
class Answer:
    """One answer, as it follows its prompt."""

    ids: TokenIds
    """All that follows the prompt, to the end of the turn. Empty if `problem` says why."""
    merged: bool = False
    """Its first characters and the prompt's last would have been one token."""
    ended: bool = True
    """The template ended it; otherwise EOS was appended here."""
    rewritten: bool = False
    """The template did not continue the prompt it gave: the text was put behind that prompt."""
    problem: str = ""


@attrs.frozen(eq=False, kw_only=True)
class Encoded:
    """A pair as token ids; unpaired data has its only answer on both sides."""

    pair: Pair
    prompt: TokenIds
    chosen: Answer
    rejected: Answer
    left_out: bool = False
    """The template leaves tools or calls of tools out of the prompt."""


def special_ids(tokenizer: Any) -> set[int]:
    """Ids that can end a turn."""
    added = tokenizer.added_tokens_decoder.items()
    return {tokenizer.eos_token_id, *(id_ for id_, token in added if token.special)}


def encode(
    pairs: Iterable[Pair], tokenizer: Any, inputs: TemplateInputs | None = None
) -> Iterator[Encoded]:
    """Token ids of pairs, in their order, as they come.

    An answer is all that the template, given the `inputs`, writes after the prompt. Its ids are
    those that follow the prompt's in the whole text. Where the whole does not begin with the
    prompt's ids the answer is encoded by itself, so that the prompt's ids are always those that a
    model is asked with. What pairs next to each other share is encoded once.
    """
    encoder = _Encoder.of(tokenizer, inputs)
    # While one block is in Rust, which has threads of its own, another can be in Python.
    threads = ThreadPoolExecutor(AHEAD if encoder.backend else 1)
    try:
        for block in _ahead(threads, encoder.pairs, blocks_of(pairs)):
            yield from block
    finally:
        threads.shutdown(cancel_futures=True)


def _ahead(
    threads: ThreadPoolExecutor,
    work: Callable[[Sequence[Pair]], list[Encoded]],
    blocks: Iterable[Sequence[Pair]],
) -> Iterator[list[Encoded]]:
    """The work on each block, in their order, a few of them ahead."""
    running: deque[Future[list[Encoded]]] = deque()
    for block in blocks:
        running.append(threads.submit(work, block))
        if len(running) > AHEAD:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def blocks_of(pairs: Iterable[Pair]) -> Iterator[list[Pair]]:
    """Pairs, some at a time; those of one prompt that come together stay together."""
    block: list[Pair] = []
    for pair in pairs:
        if len(block) >= AT_ONCE and pair.prompt.messages != block[-1].prompt.messages:
            yield block
            block = []
        block.append(pair)
        if len(block) >= MOST_AT_ONCE:
            yield block
            block = []
    if block:
        yield block


@attrs.frozen(eq=False)
class _EncodedPrompt:
    """A prompt, and the answers to it."""

    prompt: TokenIds
    answers: Mapping[Message, Answer]
    left_out: bool = False


@attrs.frozen
class _Tail:
    """The end of a prompt that decides how what follows is encoded."""

    text: str
    ids: list[int]


@attrs.frozen(kw_only=True)
class _Encoder:
    """A tokenizer, and what saves it work without changing an id."""

    tokenizer: Any
    backend: Any | None
    """Its part in Rust, if nothing in Python changes what this makes of a text."""
    anchors: Mapping[int, str]
    """Tokens that a text is cut at before all else: each side of them is encoded by itself."""
    ends: Collection[int]
    """Ids that can end a turn."""
    inputs: TemplateInputs

    @classmethod
    def of(cls, tokenizer: Any, inputs: TemplateInputs | None = None) -> _Encoder:
        backend = _backend(tokenizer)
        added = tokenizer.added_tokens_decoder.items() if backend else ()
        return cls(
            tokenizer=tokenizer,
            backend=backend,
            anchors={id_: token.content for id_, token in added if not token.normalized},
            ends=special_ids(tokenizer),
            inputs=inputs or TemplateInputs(),
        )

    def pairs(self, pairs: Sequence[Pair]) -> list[Encoded]:
        """Some pairs; every distinct prompt and every distinct answer to it is encoded once."""
        keys = [
            (Conversation.of(pair.prompt), pair.answers[0].message, pair.answers[-1].message)
            for pair in pairs
        ]
        asked: dict[Conversation, dict[Message, None]] = {}
        for conversation, chosen, rejected in keys:
            given = asked.setdefault(conversation, {})
            given[chosen] = given[rejected] = None
        found = dict(zip(asked, self.encode(list(asked.items())), strict=True))
        return [
            Encoded(
                pair=pair,
                prompt=found[conversation].prompt,
                chosen=found[conversation].answers[chosen],
                rejected=found[conversation].answers[rejected],
                left_out=found[conversation].left_out,
            )
            for pair, (conversation, chosen, rejected) in zip(pairs, keys, strict=True)
        ]

    def encode(
        self, asked: Sequence[tuple[Conversation, Collection[Message]]]
    ) -> list[_EncodedPrompt]:
        """Each conversation with the answers to it."""
        rendered = render(asked, self.tokenizer, self.inputs)
        prompts = self.ids(conversation.prompt for conversation in rendered)
        tails = self.tails(prompts)
        wholes = self.ids(
            tails[conversation.prompt].text + after.text
            for conversation in rendered
            for after in conversation.answers.values()
        )
        return [
            _EncodedPrompt(
                np.array(prompts[conversation.prompt], dtype=np.int64),
                {
                    answer: self.answer(tails[conversation.prompt], after, wholes)
                    for answer, after in conversation.answers.items()
                },
                conversation.left_out,
            )
            for conversation in rendered
        ]

    def tails(self, prompts: Mapping[str, list[int]]) -> dict[str, _Tail]:
        """Each prompt from its last anchor on; the whole prompt where its ids would then differ."""
        tails = {prompt: self.from_last_anchor(prompt, ids) for prompt, ids in prompts.items()}
        known = {**prompts, **self.ids(tail for tail in tails.values() if tail not in prompts)}
        return {
            prompt: _Tail(tail, known[tail])
            if ids[-len(known[tail]) :] == known[tail]
            else _Tail(prompt, ids)
            for (prompt, ids), tail in zip(prompts.items(), tails.values(), strict=True)
        }

    def from_last_anchor(self, prompt: str, ids: Sequence[int]) -> str:
        last = next((self.anchors[id_] for id_ in reversed(ids) if id_ in self.anchors), prompt)
        return prompt[max(prompt.rfind(last), 0) :]

    def answer(self, tail: _Tail, after: Continuation, wholes: Mapping[str, list[int]]) -> Answer:
        """An answer that follows a prompt, given the ids of each tail with its continuation."""
        if after.problem:
            return Answer(ids=_NOTHING, problem=after.problem)
        whole = wholes[tail.text + after.text]
        merged = whole[: len(tail.ids)] != tail.ids
        ids = self.apart(after.text) if merged else whole[len(tail.ids) :]
        ended = any(id_ in self.ends for id_ in ids[-4:])
        return Answer(
            ids=np.array(ids if ended else [*ids, self.tokenizer.eos_token_id], dtype=np.int64),
            merged=merged,
            ended=ended,
            rewritten=after.rewritten,
        )

    @cached_property
    def marks_begin(self) -> bool:
        """Whether a text by itself begins with a blank that it does not have (sentencepiece)."""
        firsts = (
            self.tokenizer.convert_ids_to_tokens(ids[:1]) for ids in self.ids(STARTS).values()
        )
        return any(str(token).startswith(BLANKS) for found in firsts for token in found)

    def apart(self, text: str) -> list[int]:
        """The ids of a text by itself, but without the mark of a begin that it does not have."""
        for before in STARTS if self.marks_begin else ():
            known = self.ids([before, before + text])
            if known[before + text][: len(known[before])] == known[before]:
                return known[before + text][len(known[before]) :]
        return self.ids([text])[text]

    def ids(self, texts: Iterable[str]) -> dict[str, list[int]]:
        """Token ids by text."""
        distinct = list(dict.fromkeys(texts))
        if self.backend:
            encodings = self.backend.encode_batch_fast(distinct, add_special_tokens=False)
            return {text: encoding.ids for text, encoding in zip(distinct, encodings, strict=True)}
        found = self.tokenizer(distinct, **IDS_ALONE).input_ids if distinct else []
        return dict(zip(distinct, found, strict=True))


def _backend(tokenizer: Any) -> Any | None:
    """The part of a tokenizer that does all of its work, if there is such a part."""
    from transformers import TokenizersBackend

    for method in ("__call__", "_encode_plus"):
        if getattr(type(tokenizer), method, None) is not getattr(TokenizersBackend, method):
            return None
    tokenizer("", **IDS_ALONE)  # Ends truncation and padding, as every call of it would.
    return tokenizer.backend_tokenizer


_NOTHING: TokenIds = np.empty(0, dtype=np.int64)
