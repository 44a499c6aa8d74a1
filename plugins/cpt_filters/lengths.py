"""How long answers are, in a unit of the user's choice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

import cpt
from cpt_filters import texts


@attrs.frozen(kw_only=True)
class Measured(cpt.Filter):
    """Compares the lengths of the two answers of a pair."""

    unit: Literal["words", "characters"] = "words"
    """What is counted in the text of an answer, thoughts and tool calls left aside."""
    tokenizer: str | None = attrs.field(default=None, metadata=cpt.PATH)
    """A model whose tokens are counted instead."""

    def check(self) -> None:
        if self.tokenizer:
            self.counter()

    def counter(self) -> Callable[[str], int]:
        """What counts. Raises `CptError` if there is no such model."""
        if self.tokenizer:
            return _of_tokens(self.tokenizer)
        return len if self.unit == "characters" else lambda text: len(texts.words(text))

    @property
    def counted(self) -> str:
        """The unit in words."""
        return "tokens" if self.tokenizer else self.unit


def _of_tokens(model: str) -> Callable[[str], int]:
    from cpt.models import bare_tokenizer, folder_of

    tokenizer: Any = bare_tokenizer(folder_of(model))
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"])
