"""Write stand-ins for what a dry run reads, with lengths of your choice.

    python examples/papers/real/stand_in.py --rows 520 --prompt 200 --answer 300 --output stand-in

`prompts.jsonl` has prompts with their part in the recipe of OLMo 3's shape and with the answers of
a ladder, `pairs.jsonl` a pair of each, and `8b/` the shape of Llama-3-8B without weights. A word
has three letters and is one token.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from string import ascii_lowercase
from typing import Any

WORDS = ["".join(letters) for letters in product(ascii_lowercase, repeat=3)]
PARTS = ("delta",) * 25 + ("judged",) * 25 + ("multi_turn",) * 2
RUNGS = ("gpt-4", "gpt-3.5-turbo", "text-davinci-003")
PAD, END, USER, ASSISTANT = SPECIAL = ("<|pad|>", "<|end|>", "<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SHAPE = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=520, help="[520]")
    parser.add_argument("--prompt", type=int, default=200, help="tokens of a prompt [200]")
    parser.add_argument("--answer", type=int, default=300, help="tokens of an answer [300]")
    parser.add_argument("--output", type=Path, default=Path("stand-in"), help="[stand-in]")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    rows = list(invented(given.rows, given.prompt, given.answer))
    write(given.output / "prompts.jsonl", rows)
    write(given.output / "pairs.jsonl", map(pair_of, rows))
    write_model(given.output / "8b")


def invented(count: int, prompt: int, answer: int) -> Iterator[dict[str, Any]]:
    """Prompts of random words, with an answer by each rung."""
    chance = random.Random(0)

    def text(size: int) -> str:
        return " ".join(chance.choices(WORDS, k=size))

    for number in range(count):
        responses = {rung: text(answer) for rung in RUNGS}
        part = PARTS[number % len(PARTS)]
        yield {"id": str(number), "prompt": text(prompt), "part": part, "responses": responses}


def pair_of(row: dict[str, Any]) -> dict[str, Any]:
    best, *_, worst = row["responses"].values()
    return {"id": row["id"], "prompt": row["prompt"], "chosen": best, "rejected": worst}


def write(path: Path, rows: Any) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_model(folder: Path) -> None:
    """A configuration, and a tokenizer for these words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token=PAD))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=TEMPLATE,
    ).save_pretrained(folder)
    made = LlamaConfig(**SHAPE, tie_word_embeddings=False, architectures=["LlamaForCausalLM"])
    made.save_pretrained(folder)


if __name__ == "__main__":
    main()
