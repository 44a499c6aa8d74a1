"""What is trained on what: pairs from files, a tokenizer made of them, random weights."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np

MODELS: dict[str, dict[str, Any]] = {
    "40m": {
        "vocab_size": 32_000,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
    },
    "90m": {
        "vocab_size": 128_256,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 64,
    },
    "135m": {
        "vocab_size": 49_152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "head_dim": 64,
    },
    "500m": {
        "vocab_size": 151_936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "head_dim": 64,
    },
    "8b": {
        "vocab_size": 128_256,
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
}
"""Shapes by name. The first three are for a CPU, the last two for an accelerator."""

USER, ANSWER, END, PAD = "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"


@attrs.frozen
class Texts:
    """One pair as text; the prompt ends where the answer begins."""

    prompt: str
    chosen: str
    rejected: str


def read(path: Path) -> list[Texts]:
    """Pairs of a jsonl file: a ladder's, CLAIR's, or rows of prompt, chosen and rejected."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [_texts(row) for row in rows if len(set(_sides(row))) == 2]


def ladder(path: Path, authors: Sequence[str]) -> list[Texts]:
    """Every pair of a ladder, prompt by prompt: each author over all the later ones."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        Texts(_asked(row["prompt"]), row["responses"][better], row["responses"][worse])
        for row in rows
        for at, better in enumerate(authors)
        for worse in authors[at + 1 :]
    ]


def joined(texts: Sequence[Texts], words: int) -> list[Texts]:
    """The same pairs with long prompts: earlier pairs stand before as turns of one conversation."""
    found: list[Texts] = []
    turns: list[str] = []
    for each in texts:
        prompt = "".join([*turns, each.prompt])
        if len(prompt.split()) >= words:
            found.append(attrs.evolve(each, prompt=prompt))
            turns = []
        else:
            turns.append(f"{each.prompt}{each.rejected}{END}")
    return found


def _sides(row: dict[str, Any]) -> tuple[str, str]:
    if "responses" in row:
        return row["responses"]["gpt4"], row["responses"]["text_davinci_003"]
    return row.get("revision") or row["chosen"], row["rejected"]


def _texts(row: dict[str, Any]) -> Texts:
    return Texts(_asked(row["prompt"]), *_sides(row))


def _asked(prompt: str) -> str:
    return f"{USER}{prompt}{ANSWER}"


def make_tokenizer(texts: Iterable[Texts], vocabulary: int, folder: Path) -> Any:
    """A byte-level tokenizer trained on the texts, saved; it may be smaller than the vocabulary."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    each = (text for pair in texts for text in (pair.prompt, pair.chosen, pair.rejected))
    special = [PAD, END, USER, ANSWER]
    trained.train_from_iterator(each, vocabulary, special_tokens=special, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, eos_token=END, pad_token=PAD
    )
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_model(name: str, folder: Path) -> None:
    """A model of random weights, tied, in fp32, saved."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(0)
    config = Qwen3Config(
        **MODELS[name],
        tie_word_embeddings=True,
        max_position_embeddings=8192,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)


def tokenised(
    tokenizer: Any, texts: Sequence[Texts], longest: int
) -> tuple[list[Texts], list[tuple[Any, Any, Any]]]:
    """The pairs that fit into `longest` tokens, and their ids: prompt, chosen and rejected."""
    kept: list[Texts] = []
    ids: list[tuple[Any, Any, Any]] = []
    sides = [
        tokenizer([getattr(each, side) for each in texts], add_special_tokens=False)["input_ids"]
        for side in ("prompt", "chosen", "rejected")
    ]
    for text, prompt, chosen, rejected in zip(texts, *sides, strict=True):
        if len(prompt) + max(len(chosen), len(rejected)) < longest:
            kept.append(text)
            end = [tokenizer.eos_token_id]
            ids.append((np.array(prompt), np.array(chosen + end), np.array(rejected + end)))
    return kept, ids
