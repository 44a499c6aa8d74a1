"""Text to token ids: the chat template decides where a prompt ends, each text is encoded once."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import jinja2
import numpy as np

from cpt.errors import CptError
from cpt.training.rows import Tokens
from cpt.types import Pair

PLAIN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n' }}{% endfor %}"
)
"""The template of a tokenizer that has none: a line for each turn, answers end with EOS."""

TAIL = 32
"""Characters of the prompt that an answer is encoded behind: no token is as long as this."""

AT_ONCE = 2000
"""Texts in a call of the tokenizer, which keeps far more than ids until it is done."""

T = TypeVar("T", bound=Hashable)


@attrs.frozen(eq=False, kw_only=True)
class Answer:
    """One answer behind its prompt."""

    ids: Tokens
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
    """A pair as token ids."""

    prompt: Tokens
    chosen: Answer
    rejected: Answer


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a model's folder, with an EOS token and a chat template for certain.

    Raises `CptError` if there is no tokenizer, or none of its tokens can end an answer.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise CptError(
            f"{folder}: no tokenizer that can be loaded ({_first_line(error)}); a model's folder "
            "needs tokenizer.json and tokenizer_config.json."
        ) from error
    return with_template(tokenizer)


def with_template(tokenizer: Any) -> Any:
    """The tokenizer itself, given the template `PLAIN` if it has none. Raises `CptError`."""
    if tokenizer.eos_token_id is None:
        raise CptError(
            f"{tokenizer.name_or_path}: the tokenizer has no EOS token, so no answer would end; "
            "set eos_token in its tokenizer_config.json."
        )
    if not tokenizer.chat_template:
        begins = tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
        tokenizer.chat_template = ("{{ bos_token }}" if begins else "") + PLAIN
    return tokenizer


def encode(pairs: Sequence[Pair], tokenizer: Any) -> list[Encoded]:
    """Token ids of pairs: every distinct prompt and every distinct answer is encoded once.

    An answer is all that the template writes after the prompt. It is encoded behind the prompt's
    last characters, and kept if these encode as they do alone; else it is encoded by itself, so
    that the prompt's ids are always those that a model is asked with.
    """
    prompts = _numbered(pair.prompt.messages for pair in pairs)
    asked = _numbered(
        (prompts[pair.prompt.messages], text)
        for pair in pairs
        for text in (pair.chosen.text, pair.rejected.text)
    )
    chats = [
        [{"role": each.role, "content": each.content} for each in messages] for messages in prompts
    ]
    texts = _render(chats, tokenizer, add_generation_prompt=True)
    replies = [[*chats[prompt], {"role": "assistant", "content": text}] for prompt, text in asked]
    wholes = _render(replies, tokenizer, add_generation_prompt=False)
    ids = _encode([text if isinstance(text, str) else "" for text in texts], tokenizer)
    continued = [
        _continuation(texts[prompt], whole, text)
        for (prompt, text), whole in zip(asked, wholes, strict=True)
    ]
    answers = _answers(continued, tokenizer)
    return [
        Encoded(
            prompt=ids[prompt := prompts[pair.prompt.messages]],
            chosen=answers[asked[prompt, pair.chosen.text]],
            rejected=answers[asked[prompt, pair.rejected.text]],
        )
        for pair in pairs
    ]


@attrs.frozen
class _Continuation:
    """What follows a prompt, and the end of the prompt that it follows."""

    tail: str = ""
    text: str = ""
    rewritten: bool = False
    problem: str = ""


def _numbered(items: Iterable[T]) -> dict[T, int]:
    """Every distinct item with its place among them."""
    return {item: place for place, item in enumerate(dict.fromkeys(items))}


def _render(
    chats: Sequence[Sequence[Mapping[str, str]]], tokenizer: Any, **how: bool
) -> list[str | Exception]:
    """The text of each conversation, or why the template refuses it."""
    if not chats:
        return []
    try:
        return list(tokenizer.apply_chat_template(chats, tokenize=False, **how))
    except (jinja2.TemplateError, ValueError) as error:  # an empty conversation is a ValueError
        if len(chats) == 1:
            return [error]
    half = len(chats) // 2
    return _render(chats[:half], tokenizer, **how) + _render(chats[half:], tokenizer, **how)


def _continuation(prompt: str | Exception, whole: str | Exception, answer: str) -> _Continuation:
    for refused in (prompt, whole):
        if isinstance(refused, Exception):
            return _Continuation(problem=f"the chat template refuses it ({_first_line(refused)})")
    assert isinstance(prompt, str) and isinstance(whole, str)
    if whole.startswith(prompt):
        return _Continuation(prompt[-TAIL:], whole[len(prompt) :])
    start = whole.rfind(answer.strip())
    if not answer.strip() or start < 0:
        return _Continuation(problem="the chat template does not keep its text")
    return _Continuation(prompt[-TAIL:], whole[start:], rewritten=True)


def _answers(continued: Sequence[_Continuation], tokenizer: Any) -> list[Answer]:
    tails = _numbered(each.tail for each in continued)
    behind = _numbered((each.tail, each.text) for each in continued)
    tail_ids = _encode(list(tails), tokenizer)
    joined = _encode([tail + text for tail, text in behind], tokenizer)
    begins = [
        np.array_equal(ids[: len(tail_ids[tails[tail]])], tail_ids[tails[tail]])
        for (tail, _), ids in zip(behind, joined, strict=True)
    ]
    alone = _numbered(text for (_, text), whole in zip(behind, begins, strict=True) if not whole)
    alone_ids = _encode(list(alone), tokenizer)
    special = special_ids(tokenizer)

    def answer(each: _Continuation) -> Answer:
        if each.problem:
            return Answer(ids=_NOTHING, problem=each.problem)
        place = behind[each.tail, each.text]
        fits = begins[place]
        ids = (
            joined[place][len(tail_ids[tails[each.tail]]) :]
            if fits
            else alone_ids[alone[each.text]]
        )
        ended = not special.isdisjoint(ids[-4:].tolist())
        return Answer(
            ids=ids if ended else np.append(ids, tokenizer.eos_token_id),
            merged=not fits,
            ended=ended,
            rewritten=each.rewritten,
        )

    return [answer(each) for each in continued]


_NOTHING: Tokens = np.empty(0, dtype=np.int64)


def _encode(texts: Sequence[str], tokenizer: Any) -> list[Tokens]:
    found: list[Tokens] = []
    for start in range(0, len(texts), AT_ONCE):
        encoded = tokenizer(
            list(texts[start : start + AT_ONCE]),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        found += [np.array(ids, dtype=np.int64) for ids in encoded["input_ids"]]
    return found


def special_ids(tokenizer: Any) -> set[int]:
    """Ids that can end a turn."""
    added = tokenizer.added_tokens_decoder.items()
    return {tokenizer.eos_token_id, *(id_ for id_, token in added if token.special)}


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
