"""The lab's tokenizer: common words whole, all other text byte by byte."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from random import Random
from typing import TYPE_CHECKING

from cpt_lab.world import ask, draw, write

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, END, USER, ASSISTANT, SYSTEM = SPECIAL = (
    "<|pad|>",
    "<|end|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SAMPLE = 5_000
COMMON = 5
"""Times that a word is met in the sample to count as common."""


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Build the tokenizer; it encodes any text, and decodes it again to the same text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bytes_ = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = [*SPECIAL, *bytes_, *(word for word in _common_words() if len(word) > 1)]
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    # With no merges to apply, a word is either in the vocabulary or falls apart into bytes.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT, SYSTEM],
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )


def _common_words() -> list[str]:
    from tokenizers import pre_tokenizers

    split = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str
    random = Random("words")
    words: Counter[str] = Counter()
    for task in islice(draw("study", random), SAMPLE):
        for text in (ask(task, random), write(task, random, flaws=0.3)):
            words.update(piece for piece, _ in split(text))
    return sorted(word for word, times in words.items() if times >= COMMON)
