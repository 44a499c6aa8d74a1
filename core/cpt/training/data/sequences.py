"""One prompt with one answer, as token ids."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs
import numpy as np
from numpy.typing import NDArray

from cpt.errors import BadData

TokenIds = NDArray[np.int64]
"""Shape (tokens,)."""


def _token_ids(values: Any) -> TokenIds:
    return np.asarray(values, dtype=np.int64)


def _not_empty(sequence: TokenSequence, field: attrs.Attribute[TokenIds], ids: TokenIds) -> None:
    if ids.ndim != 1 or not len(ids):
        raise BadData(
            f"The {field.name} of a sequence needs at least one token, as a flat list of ids."
        )


@attrs.frozen(eq=False)
class TokenSequence:
    """A prompt and an answer to it, tokenised."""

    prompt: TokenIds = attrs.field(converter=_token_ids, validator=_not_empty)
    """Token ids that are conditioned on, never scored. Shape (prompt,)."""
    answer: TokenIds = attrs.field(converter=_token_ids, validator=_not_empty)
    """Token ids that are scored, the end-of-sequence token included. Shape (answer,)."""

    @property
    def input_length(self) -> int:
        """Tokens that a model must read: the last one is predicted, never read."""
        return len(self.prompt) + len(self.answer) - 1

    @property
    def digest(self) -> bytes:
        """A digest of the token ids, and of where the answer begins: 16 bytes."""
        return digest_with(prompt_hash(self.prompt), self.answer)


def prompt_hash(prompt: TokenIds) -> hashlib.blake2b:
    """The hash of a prompt, which `digest_with` continues for each answer to it."""
    digest = hashlib.blake2b(len(prompt).to_bytes(8, "little"), digest_size=16)
    digest.update(prompt.tobytes())
    return digest


def digest_with(prompt: hashlib.blake2b, answer: TokenIds) -> bytes:
    """The `TokenSequence.digest` of a prompt, given its `prompt_hash`, and an answer."""
    digest = prompt.copy()
    digest.update(answer.tobytes())
    return digest.digest()
