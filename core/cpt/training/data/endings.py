"""What a reward model reads of a conversation: all of it, to the last token."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from cpt.errors import CptError
from cpt.models import token_ids
from cpt.training.data.corpus import Corpus
from cpt.training.data.sequences import TokenIds


def read_to_the_end(corpus: Corpus, tokenizer: Any) -> Corpus:
    """The corpus with each answer continued to the end of the conversation, and one token more.

    A judge scores a conversation as the chat template writes it, with what follows the answer's
    last token; the token more is the one that a model predicts and never reads. Raises `CptError`
    if the template writes a whole conversation in another way.
    """
    more = [*_tail(corpus, tokenizer), 0]
    tail = np.array(more, dtype=np.int64)
    return attrs.evolve(corpus, sequences=corpus.sequences.with_tail(tail))


def _tail(corpus: Corpus, tokenizer: Any) -> TokenIds:
    """The tokens of the first conversation that come after its answer."""
    pair, sequence = corpus.pairs[0], corpus.sequences[int(corpus.chosen[0])]
    chat = [turn.plain() for turn in (*pair.prompt.messages, pair.chosen.message)]
    (whole,) = token_ids(tokenizer, [chat])
    ids = [*sequence.prompt.tolist(), *sequence.answer.tolist()]
    if isinstance(whole, str) or whole[: len(ids)] != ids:
        raise CptError(
            "The chat template writes a whole conversation in another way than its prompt and an "
            "answer to it, so a judge would read other tokens than this training; give the "
            "tokenizer a template without such a difference."
        )
    return np.array(whole[len(ids) :], dtype=np.int64)
