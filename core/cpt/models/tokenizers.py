"""The tokenizer of a model, and conversations as its token ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cpt.errors import CptError, first_line
from cpt.models.loading import refuse_own_code

PLAIN = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n' }}{% endfor %}"
)
"""The template of a tokenizer that has none: a line for each turn, answers end with EOS."""


def load_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer in a model's folder, with an EOS token and a chat template for certain.

    Code in the folder is run only with `trust_remote_code`. Raises `CptError` if there is no
    tokenizer, or none of its tokens can end an answer.
    """
    return with_template(bare_tokenizer(folder, trust_remote_code=trust_remote_code))


def bare_tokenizer(folder: Path, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer in a model's folder, as it is. Raises `CptError` if there is none."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        refuse_own_code(folder, error)
        raise CptError(
            f"{folder}: no tokenizer that can be loaded ({first_line(error)}); a model's folder "
            "needs tokenizer.json and tokenizer_config.json."
        ) from error


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


def token_ids(
    tokenizer: Any, chats: Sequence[Sequence[Mapping[str, str]]], **how: bool
) -> list[list[int] | str]:
    """The token ids of each conversation in the chat template, or why it has none."""
    import jinja2

    # A template is a program of its author's, and may fail in any way.
    failures = (jinja2.TemplateError, ArithmeticError, AttributeError, LookupError, TypeError)
    try:
        texts = tokenizer.apply_chat_template(chats, tokenize=False, **how)
        rows = tokenizer(texts, add_special_tokens=False).input_ids
    except (*failures, ValueError) as error:
        if len(chats) == 1:
            return [f"the chat template refuses it ({first_line(error)})"]
        return [ids for chat in chats for ids in token_ids(tokenizer, [chat], **how)]
    return [row or "the chat template makes an empty text of it" for row in rows]
