"""What is trained on what: pairs from files, a tokenizer made of them, random weights."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import attrs

from cpt.types import Message, Pair, Prompt, Response


def _shape(
    vocabulary: int, width: int, inner: int, layers: int, heads: int, groups: int, head: int = 64
) -> dict[str, int]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "head_dim": head,
    }


MODELS = {
    "small": _shape(2_000, 64, 128, 2, 4, 2, 16),
    "40m": _shape(32_000, 512, 1536, 8, 8, 4),
    "90m": _shape(128_256, 512, 1536, 8, 8, 4),
    "135m": _shape(49_152, 576, 1536, 30, 9, 3),
    "500m": _shape(151_936, 896, 4864, 24, 14, 2),
    "1.5b": _shape(151_936, 1536, 8960, 28, 12, 2, 128),
    "8b": _shape(128_256, 4096, 14_336, 32, 32, 8, 128),
}
"""Shapes by name. `small` is for tests, up to 135m for a CPU, the others for an accelerator."""

END, PAD = "<|end|>", "<|pad|>"
ROLES = ("<|user|>", "<|assistant|>")
TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def read(path: Path, authors: Sequence[str]) -> list[Pair]:
    """Pairs of a jsonl file: a ladder's (each author over all later ones), or CLAIR's."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        pair
        for number, row in enumerate(rows)
        for pair in _pairs(str(number), row, authors)
        if pair.chosen.text != pair.rejected.text
    ]


def _pairs(name: str, row: dict[str, Any], authors: Sequence[str]) -> Iterable[Pair]:
    prompt = Prompt(id=name, messages=(Message("user", row["prompt"]),))
    if "responses" not in row:
        row["responses"] = {"revision": row["revision"], "rejected": row["rejected"]}
        authors = ("revision", "rejected")
    answers = [Response(prompt_id=name, text=row["responses"][by], author=by) for by in authors]
    for at, better in enumerate(answers):
        for worse in answers[at + 1 :]:
            yield Pair(prompt=prompt, chosen=better, rejected=worse)


def joined(pairs: Sequence[Pair], words: int) -> list[Pair]:
    """Pairs with prompts of `words` words and more: those skipped stand before, as turns."""
    found: list[Pair] = []
    before: tuple[Message, ...] = ()
    for _, same in groupby(pairs, key=lambda pair: pair.prompt.id):
        group = list(same)
        messages = (*before, *group[0].prompt.messages)
        before = (*messages, Message("assistant", group[0].rejected.text))
        if sum(len(message.content.split()) for message in messages) >= words:
            prompt = attrs.evolve(group[0].prompt, messages=messages)
            found += [attrs.evolve(pair, prompt=prompt) for pair in group]
            before = ()
    return found


def repeated(pairs: Sequence[Pair], times: int) -> list[Pair]:
    """The same pairs again, under other names."""
    return [
        attrs.evolve(
            pair,
            id=f"{pair.id}#{time}",
            prompt=attrs.evolve(pair.prompt, id=f"{pair.prompt.id}#{time}"),
        )
        for time in range(times)
        for pair in pairs
    ]


def conversations(pairs: Iterable[Pair]) -> list[dict[str, Any]]:
    """Pairs as TRL wants them."""
    return [
        {
            "prompt": [attrs.asdict(message) for message in pair.prompt.messages],
            "chosen": [{"role": "assistant", "content": pair.chosen.text}],
            "rejected": [{"role": "assistant", "content": pair.rejected.text}],
        }
        for pair in pairs
    ]


def make_tokenizer(pairs: Iterable[Pair], vocabulary: int, folder: Path) -> None:
    """A byte-level tokenizer trained on the pairs; it may turn out smaller than `vocabulary`."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    trained = ByteLevelBPETokenizer()
    texts = (
        text
        for pair in pairs
        for text in (pair.prompt.messages[-1].content, pair.chosen.text, pair.rejected.text)
    )
    trained.train_from_iterator(
        texts, vocabulary, special_tokens=[PAD, END, *ROLES], show_progress=False
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, eos_token=END, pad_token=PAD
    )
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)


def invented(count: int, seed: int = 0, words: int = 200) -> list[Pair]:
    """Pairs of random words: prompts of up to so many, answers of up to twice as many."""
    chance = random.Random(seed)

    def text(most: int) -> str:
        length = chance.randint(most // 4, most)
        return " ".join(f"w{chance.randint(0, 999)}" for _ in range(length))

    rows = [
        {"prompt": text(words), "revision": text(2 * words), "rejected": text(2 * words)}
        for _ in range(count)
    ]
    return [pair for number, row in enumerate(rows) for pair in _pairs(str(number), row, ())]


def config(name: str) -> Any:
    """The configuration of a shape, with tied embeddings."""
    from transformers import Qwen3Config

    return Qwen3Config(
        **MODELS[name],
        tie_word_embeddings=True,
        max_position_embeddings=8192,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )


def random_model(name: str, *, device: str = "cpu", half: bool = False) -> Any:
    """A model of random weights, in fp32 or bf16: the same ones whenever it is made there."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    dtype = torch.bfloat16 if half else torch.float32
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config(name), dtype=dtype)


def make_model(name: str, folder: Path, *, device: str = "cpu") -> None:
    """Write a model of random weights in fp32."""
    random_model(name, device=device).save_pretrained(folder)


def fitting(pairs: Sequence[Pair], folder: Path, longest: int) -> list[Pair]:
    """The pairs of which no side has more than `longest` tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def size(pair: Pair, answer: Response) -> int:
        messages = [attrs.asdict(message) for message in pair.prompt.messages]
        messages.append({"role": "assistant", "content": answer.text})
        return len(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])

    return [
        pair for pair in pairs if max(size(pair, pair.chosen), size(pair, pair.rejected)) <= longest
    ]
