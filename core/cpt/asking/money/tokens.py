"""Tokens of a text: counted where its model is in a folder, else estimated from its length."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BYTES_PER_TOKEN = 4
"""Of text, where there is no tokenizer; right for English and not far off elsewhere."""
PER_TURN = 4
"""Tokens that a chat format puts around a turn."""


def input_tokens(author: str, turns: Iterable[str]) -> tuple[int, bool]:
    """Tokens of a conversation, and whether they were counted rather than estimated."""
    counts = [text_tokens(author, text) for text in turns]
    tokens = sum(count + PER_TURN for count, _ in counts)
    return tokens, all(counted for _, counted in counts)


def text_tokens(author: str, text: str) -> tuple[int, bool]:
    """Tokens of one text, and whether they were counted."""
    tokenizer = _tokenizer(author)
    if tokenizer is None:
        return -(-len(text.encode(errors="replace")) // BYTES_PER_TOKEN), False
    return len(tokenizer.encode(text).ids), True


@cache
def _tokenizer(author: str) -> Tokenizer | None:
    """That of a model in a folder."""
    path = Path(author) / "tokenizer.json"
    if not path.is_file():
        return None
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))
