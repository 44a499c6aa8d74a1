"""The texts of a pair, the words in them, and what is noted of it."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from importlib import import_module
from typing import Any

import cpt

WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W\u3040-\u30ff\u3400-\u9fff]+")
"""A run of letters and digits; in Chinese and Japanese, which have no spaces, one character."""


def asked(prompt: cpt.Prompt) -> str:
    """What the user said: a system message is often the same for all prompts."""
    return "\n".join(turn.content for turn in prompt.messages if turn.role == "user")


def noted(pair: cpt.Pair, column: str) -> Any:
    """What a column of the pair's metadata says, or else of its prompt's; None without one."""
    return pair.info.get(column, pair.prompt.info.get(column))


def words(text: str) -> list[str]:
    """The words of a text, without case, punctuation and the width of letters.

    A text that has none, only emoji say, is one word.
    """
    found: list[str] = WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return found or [text.strip()]


def digest(parts: Sequence[str]) -> bytes:
    """Eight bytes that stand for some words in this order."""
    return blake2b("\n".join(parts).encode(errors="replace"), digest_size=8).digest()


def ngrams(parts: Sequence[str], n: int) -> Iterator[bytes]:
    """Each run of `n` words, as eight bytes; a shorter text is one run by itself."""
    for start in range(max(1, len(parts) - n + 1)):
        yield digest(parts[start : start + n])


def optional(module: str) -> Any:
    """A module of an optional library. Raises `CptError` that names the extra."""
    try:
        return import_module(module)
    except ImportError as error:
        library = module.partition(".")[0]
        raise cpt.CptError(
            f"filters: {library} is not installed; "
            "`pip install 'contrastive-post-training[filters]'`."
        ) from error
