"""Models, tokenizers, pairs and losses that are small enough to be made in a test."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import attrs
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cpt import Batch, Evaluator, Loss, Message, Pair, Prompt, Response, Scheduler
from cpt.training.loss import metrics
from cpt.training.options import Training

from .families import FAMILIES, config_of, random_model

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Two threads on a matrix this small wait for each other longer than they work.
torch.set_num_threads(1)

OPTIONS: dict[str, Any] = {
    "batch_size": 8,
    "learning_rate": 1e-3,
    "micro_tokens": 256,
    "log_every": 1,
    "checkpoint_every": 0,
    "device": "cpu",
}
"""A training that is over in a second, and logs every step."""

SPECIAL = ["<|im_start|>", "<|im_end|>", "<s>"]
MERGES = [("a", "b"), ("c", "d"), ("ab", "cd"), ("Ċ", "Ċ"), ("Ġ", "a")]


def tokenizer(*, template: str | None = CHATML, eos: str | None = "<|im_end|>") -> Any:
    """Bytes, with a few merges: `ab`, `abcd`, two line ends, a space before an `a`."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*SPECIAL, *alphabet, *("".join(pair) for pair in MERGES)]
    made = Tokenizer(models.BPE(vocab={word: at for at, word in enumerate(words)}, merges=MERGES))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(SPECIAL)
    found = PreTrainedTokenizerFast(tokenizer_object=made, eos_token=eos)
    found.chat_template = template
    return found


def model(seed: int = 0, **config: Any) -> LlamaForCausalLM:
    """A random Llama of some 60,000 weights, with dropout in its configuration."""
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "attention_dropout": 0.1,
        "initializer_range": 0.1,
    }
    return LlamaForCausalLM(LlamaConfig(**(sizes | config)))


def folder(path: Path, seed: int = 0, **config: Any) -> Path:
    """A model and its tokenizer on disk."""
    model(seed, **config).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def of_family(path: Path, family: str) -> Path:
    """A model of one of `families` with this tokenizer on disk."""
    kind, own = FAMILIES[family]
    words = tokenizer()
    sizes = {"vocab_size": len(words), "max_position_embeddings": 256, "pad_token_id": 2}
    random_model(config_of(kind, {**own, **sizes})).save_pretrained(path)
    words.save_pretrained(path)
    return path


def pair(question: str, chosen: str, rejected: str, **rest: Any) -> Pair:
    prompt = Prompt(id=f"p-{question}", messages=(Message("user", question),))
    return Pair(
        prompt=prompt,
        chosen=Response(prompt_id=prompt.id, text=chosen, author="strong"),
        rejected=Response(prompt_id=prompt.id, text=rejected, author="weak"),
        **rest,
    )


def pairs(count: int, seed: int = 0) -> list[Pair]:
    """Questions of random letters; the chosen answer repeats them, the rejected one does not."""
    random_ = random.Random(seed)

    def text(least: int, most: int) -> str:
        return "".join(random_.choices("abcdefgh ", k=random_.randint(least, most)))

    made = []
    for number in range(count):
        question = text(3, 20)
        rejected = text(5, 30)
        made.append(pair(question, f"{question}!", f"{rejected}?", id=f"pair-{number}"))
    return made


def ladder(prompts: int, rungs: int = 3, seed: int = 0) -> list[Pair]:
    """Every two answers of several to one prompt as a pair."""
    made = []
    for number, base in enumerate(pairs(prompts, seed)):
        answers = [f"{base.chosen.text} {'abcd' * rung}{rung}" for rung in range(rungs)]
        made += [
            pair(
                f"{number} of {base.id}",
                answers[better],
                answers[worse],
                id=f"{number}/{better}{worse}",
            )
            for better in range(rungs)
            for worse in range(better + 1, rungs)
        ]
    return made


def train(output: Path, model: Path, given: Sequence[Pair], **asked: Any) -> Sequence[Any]:
    """Train in this process; returns the lines of metrics. `asked` are options, `loss`, `seed`."""
    from cpt.training import train as train_on

    parts = {
        "loss": asked.pop("loss", Sigmoid()),
        "scheduler": asked.pop("scheduler", InOrder()),
        "seed": asked.pop("seed", 0),
        "held_out": asked.pop("held_out", ()),
        "evaluate": asked.pop("evaluate", None),
        "notify": asked.pop("notify", lambda event, **facts: None),
    }
    options = Training(**{**OPTIONS, **asked})
    train_on(given, model=model, options=options, output=output, **parts)
    return read(output)


@attrs.frozen
class Anything(Evaluator):
    """Stands for what `evaluate` measures."""

    name = "anything"

    async def evaluate(self, model: Any, prompts: Any, ask: Any) -> Any:
        raise NotImplementedError


def chosen_logps(model: Path) -> dict[str, float]:
    """Measures a model with computations and random numbers of its own."""
    from cpt.likelihood import Reading, log_probabilities

    torch.rand(3), random.random()
    found: Any = log_probabilities(pairs(3, seed=9), model, Reading(device="cpu"))
    return {"anything/chosen": sum(one.chosen for one in found.values())}


def read(output: Path) -> list[dict[str, Any]]:
    """The lines of metrics in a run's folder."""
    return metrics.read(output / "metrics.jsonl")


@attrs.frozen
class InOrder(Scheduler):
    """Takes the pairs as they come."""

    name = "in_order"

    def batches(
        self, pairs: Sequence[Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        for _ in range(epochs):
            for start in range(0, len(pairs), size):
                yield range(start, min(start + size, len(pairs)))


@attrs.frozen
class Mixed(Scheduler):
    """Shuffles the pairs again in every epoch."""

    name = "mixed"

    def batches(
        self, pairs: Sequence[Pair], size: int, seed: int, epochs: int
    ) -> Iterator[Sequence[int]]:
        random_ = random.Random(seed)
        for _ in range(epochs):
            order = random_.sample(range(len(pairs)), len(pairs))
            yield from (order[start : start + size] for start in range(0, len(order), size))


@attrs.frozen
class Sigmoid(Loss):
    """Widens the margin between the two log-ratios.

    Equation (7) of arXiv:2305.18290.
    """

    name = "sigmoid"

    beta: float = 0.1
    """Scale of a log-ratio."""

    def __call__(self, batch: Batch) -> Tensor:
        return -logsigmoid(self.beta * (batch.chosen.ratio - batch.rejected.ratio))


@attrs.frozen
class FailsInSecond(Sigmoid):
    """As `sigmoid`, but the second of several processes cannot compute it."""

    name = "fails_in_second"

    def __call__(self, batch: Batch) -> Tensor:
        if os.environ.get("RANK") == "1":
            raise ZeroDivisionError
        return super().__call__(batch)


@attrs.frozen
class Measured(Sigmoid):
    """As `sigmoid`, with a metric of its own."""

    name = "measured"

    def metrics(self, batch: Batch) -> Mapping[str, Tensor]:
        return {"length": batch.chosen.length}


@attrs.frozen
class Imitate(Loss):
    """Raises the chosen answer."""

    name = "imitate"
    needs: ClassVar = frozenset()

    def __call__(self, batch: Batch) -> Tensor:
        return -batch.chosen.mean


@attrs.frozen
class ByToken(Loss):
    """As `sigmoid`, summed here over the tokens."""

    name = "by_token"
    needs: ClassVar = frozenset({"rejected", "reference", "tokens"})

    beta: float = 0.1
    """Scale of a log-ratio."""

    def __call__(self, batch: Batch) -> Tensor:
        def ratio(side: Any) -> Tensor:
            return ((side.policy - side.reference) * side.mask).sum(1)

        return -logsigmoid(self.beta * (ratio(batch.chosen.tokens) - ratio(batch.rejected.tokens)))


@attrs.frozen
class Anchored(Loss):
    """Compares each side with an estimate of the divergence from the reference."""

    name = "anchored"
    needs: ClassVar = frozenset({"rejected", "reference", "mismatched"})

    beta: float = 0.1
    """Scale of a log-ratio."""

    def __call__(self, batch: Batch) -> Tensor:
        divergence = batch.mismatched.ratio.mean().clamp(min=0).detach()
        chosen = torch.sigmoid(self.beta * (batch.chosen.ratio - divergence))
        rejected = torch.sigmoid(self.beta * (divergence - batch.rejected.ratio))
        return 2 - chosen - rejected
