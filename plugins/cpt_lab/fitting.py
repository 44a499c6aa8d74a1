"""Plain supervised training of the lab's models, from nothing or from another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from cpt_lab.settings import Settings
from cpt_lab.tokenizer import ASSISTANT, END, USER

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerFast

Row = tuple[list[int], list[int]]
"""Token ids of a prompt and its answer."""
BATCH = 8
NOTHING = -100
"""Target of a position that teaches nothing."""


def new_model(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> Any:
    """A Llama with random weights, a fifth of a million at full size."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden,
        intermediate_size=3 * settings.hidden,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.heads,
        max_position_embeddings=tokenizer.model_max_length,
        # Texts are short: slow rotations would hardly tell their positions apart.
        rope_parameters={"rope_type": "default", "rope_theta": 100.0},
        initializer_range=0.05,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return LlamaForCausalLM(config)


def encode(tokenizer: PreTrainedTokenizerFast, texts: Sequence[tuple[str, str]]) -> list[Row]:
    """Token ids of prompts and answers, as the chat template would have them."""
    prompts = tokenizer([f"{USER}{prompt}{ASSISTANT}" for prompt, _ in texts])
    answers = tokenizer([f"{answer}{END}" for _, answer in texts])
    return list(zip(prompts["input_ids"], answers["input_ids"], strict=True))


def fit(
    model: Any,
    rows: Sequence[Row],
    learning_rate: float,
    seed: int,
    milestones: Mapping[int, Callable[[], None]] | None = None,
) -> None:
    """Train on every answer once, in small batches: many steps teach a tiny model fastest.

    `milestones` are called after the steps that they are kept under.
    """
    batches = list(_batches(rows, Random(seed)))
    usual = sum(len(answer) for _, answer in rows) / len(batches)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    warmup = min(100, len(batches) // 10 + 1)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, 1 - step / len(batches))
    )
    model.train()
    with one_thread():
        for step, batch in enumerate(batches, start=1):
            # Over the usual number of tokens, not this batch's: a token weighs the same in each.
            torch.autograd.backward(_loss(model, *_padded(batch)) / usual)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            if milestones and step in milestones:
                milestones[step]()


def _loss(model: Any, tokens: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of the answers, summed over their tokens. Both shapes (rows, time)."""
    counted = targets != NOTHING
    # Padding is on the right, where causal attention does not look: no mask is needed.
    hidden = model.model(input_ids=tokens, use_cache=False).last_hidden_state
    return cross_entropy(model.lm_head(hidden[counted]), targets[counted], reduction="sum")


def _batches(rows: Sequence[Row], random: Random, window: int = 64) -> Iterator[list[Row]]:
    """All rows in random batches, alike in length: sorted within windows of so many batches."""
    shuffled = random.sample(rows, len(rows))
    for start in range(0, len(rows), window * BATCH):
        near = sorted(
            shuffled[start : start + window * BATCH], key=lambda row: len(row[0]) + len(row[1])
        )
        cuts = [near[first : first + BATCH] for first in range(0, len(near), BATCH)]
        yield from random.sample(cuts, len(cuts))


def _padded(rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Tokens, and what each has to predict. Both shapes (rows, time)."""
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    tokens, targets = [], []
    for prompt, answer in rows:
        room = longest - len(prompt) - len(answer)
        tokens.append(prompt + answer + [0] * room)
        targets.append([NOTHING] * (len(prompt) - 1) + answer + [NOTHING] * (room + 1))
    return torch.tensor(tokens), torch.tensor(targets)


def sample(
    model: Any, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str], seed: int
) -> list[str]:
    """One answer to each prompt, drawn at temperature 1."""
    model.eval()
    with one_thread(), torch.inference_mode(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [
            answer
            for start in range(0, len(prompts), 500)
            for answer in _answers(model, tokenizer, prompts[start : start + 500])
        ]


def _answers(model: Any, tokenizer: PreTrainedTokenizerFast, prompts: Sequence[str]) -> list[str]:
    texts = [f"{USER}{prompt}{ASSISTANT}" for prompt in prompts]
    asked = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left")
    said = model.generate(**asked, max_new_tokens=48, do_sample=True, top_k=0)
    return list(
        tokenizer.batch_decode(said[:, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one core: as fast for tensors this small, and the same on every machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
