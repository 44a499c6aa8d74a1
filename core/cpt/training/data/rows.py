"""One prompt with one answer, as token ids."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cpt.errors import BadData

Tokens = NDArray[np.int64]


def _tokens(values: Any) -> Tokens:
    return np.asarray(values, dtype=np.int64)


def _not_empty(row: Row, field: attrs.Attribute[Tokens], tokens: Tokens) -> None:
    if tokens.ndim != 1 or not len(tokens):
        raise BadData(f"A row's {field.name} needs at least one token, as a flat list of ids.")


@attrs.frozen(eq=False)
class Row:
    """A prompt and an answer to it, tokenised."""

    prompt: Tokens = attrs.field(converter=_tokens, validator=_not_empty)
    """Token ids that are conditioned on, never scored. Shape (prompt,)."""
    answer: Tokens = attrs.field(converter=_tokens, validator=_not_empty)
    """Token ids that are scored, the end-of-sequence token included. Shape (answer,)."""

    @property
    def inputs(self) -> int:
        """Tokens that a model must read: the last one is predicted, never read."""
        return len(self.prompt) + len(self.answer) - 1


def key(row: Row) -> bytes:
    """What a sequence is found by: a digest of its token ids, 16 bytes."""
    return key_from(begun(row.prompt), row.answer)


def begun(prompt: Tokens) -> hashlib.blake2b:
    """The digest of a prompt, which that of every sequence with this prompt goes on from."""
    state = hashlib.blake2b(len(prompt).to_bytes(8, "little"), digest_size=16)
    state.update(prompt.tobytes())
    return state


def key_from(prompt: hashlib.blake2b, answer: Tokens) -> bytes:
    """The `key` of the sequence of a prompt whose digest is `begun`, and an answer."""
    state = prompt.copy()
    state.update(answer.tobytes())
    return state.digest()
