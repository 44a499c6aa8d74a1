"""One prompt with one answer, as token ids."""

from __future__ import annotations

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
