"""A reward model as a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from inspect import signature
from itertools import count
from math import isfinite
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import attrs

import cpt
from cpt import models

if TYPE_CHECKING:
    from torch import Tensor

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
PAIR = (
    "the reward model has no chat template, so it reads what was asked and the answer as its "
    "tokenizer's own pair of texts"
)
IN_USE = Lock()
"""One model at a time: several would only slow each other down."""


@attrs.frozen
class RewardModel(cpt.Judge):
    """A sequence classifier with one output: the higher, the better the answer.

    The conversation goes through its chat template; without one, what was asked and the answer are
    its tokenizer's own pair of texts. Scores are kept as answers are, so that none is computed
    twice, and calls at the same time are computed together. A conversation that the template
    refuses, or that is longer than the model has positions for, gets none.
    """

    name = "reward_model"
    model: str = attrs.field(metadata=cpt.PATH)
    """Its folder, or its id on the hub."""
    dtype: Dtype = "auto"
    """What it is computed in; `auto` is what it was saved in."""
    trust_remote_code: bool = attrs.field(default=False, metadata=cpt.NOT_IDENTITY)
    """Run the Python code in the model's folder, for models that transformers does not have."""
    device: str = "auto"
    """Where it runs; `auto` is the first accelerator, or else the CPU."""
    batch_tokens: int = 16384
    """Most tokens computed at once, padding included."""

    def check(self) -> None:
        models.folder_of(self.model)

    async def judge(
        self, prompt: cpt.Prompt, responses: Sequence[cpt.Response], ask: cpt.Ask
    ) -> cpt.Verdict:
        from asyncio import gather

        scorer = Scorer(
            model=self.model,
            dtype=self.dtype,
            device=self.device,
            batch_tokens=self.batch_tokens,
            trust_remote_code=self.trust_remote_code,
        )
        said = await gather(*(ask(scorer, answered(prompt, response)) for response in responses))
        read = [_read(answer) for answer in said]
        return cpt.Verdict(
            scores=tuple(None if isinstance(one, cpt.Missing) else one for one in read),
            raw=tuple(answer.text for answer in said),
            missing=tuple(one if isinstance(one, cpt.Missing) else None for one in read),
        )


def _read(said: cpt.Response) -> float | cpt.Missing:
    """The reward, or why this conversation has none."""
    if said.outcome == "rejected":
        return cpt.Missing(said.outcome.value, f"{said.author}: {said.detail}")
    return float(said.expect().text)


def answered(prompt: cpt.Prompt, response: cpt.Response) -> cpt.Prompt:
    """The conversation with the answer at its end."""
    return attrs.evolve(
        prompt, messages=(*prompt.messages, cpt.Message("assistant", response.text))
    )


@attrs.frozen
class Scorer(cpt.Local):
    """Answers a conversation with its reward, written as a number."""

    name = "reward_model"
    model: str
    dtype: Dtype
    device: str = attrs.field(metadata=cpt.NOT_IDENTITY)
    batch_tokens: int = attrs.field(metadata=cpt.NOT_IDENTITY)
    trust_remote_code: bool = attrs.field(default=False, metadata=cpt.NOT_IDENTITY)

    @property
    def author(self) -> str:
        return models.name_of(self.model)

    @property
    def identity(self) -> Mapping[str, Any]:
        digest, folder = self._digest, str(models.folder_of(self.model))
        as_pair = not has_template(folder, digest, self.trust_remote_code)
        return {
            "responder": self.name,
            "weights": digest,
            "dtype": self.dtype,
            **({"format": "pair"} if as_pair else {}),
        }

    @property
    def _digest(self) -> str:
        return models.digest_of(self.model, trust_remote_code=self.trust_remote_code)

    def answer_all(self, requests: Sequence[tuple[cpt.Prompt, int]]) -> Sequence[cpt.Response]:
        with IN_USE:
            loaded = _load(
                str(models.folder_of(self.model)),
                self._digest,
                models.device_of(self.device),
                self.dtype,
                self.trust_remote_code,
            )
            scores = loaded.scores([prompt for prompt, _ in requests], self.batch_tokens)
        return [
            self._response(prompt, score)
            for (prompt, _), score in zip(requests, scores, strict=True)
        ]

    def _response(self, prompt: cpt.Prompt, score: float | str) -> cpt.Response:
        if isinstance(score, float) and not isfinite(score):
            score = f"the reward is {score}, not a finite number; try another dtype"
        if isinstance(score, float):
            return cpt.Response(prompt_id=prompt.id, text=repr(score), author=self.author)
        return cpt.Response(
            prompt_id=prompt.id, text="", author=self.author, outcome="rejected", detail=score
        )


@attrs.frozen(eq=False)
class Row:
    """A conversation as tokens."""

    ids: Sequence[int]
    types: Sequence[int] | None = None
    """Which of the two texts each token belongs to, for models that are given that."""


@attrs.frozen(eq=False)
class Loaded:
    """A reward model in memory."""

    model: Any
    tokenizer: Any
    names_pad: bool
    """Whether its configuration names the token to pad with."""

    def scores(self, conversations: Sequence[cpt.Prompt], tokens: int) -> list[float | str]:
        """The reward of each conversation, or why it has none.

        What is computed together changes no reward.
        """
        import torch

        encoded = self._encoded(conversations)
        found: dict[int, float | str] = {
            index: row for index, row in enumerate(encoded) if isinstance(row, str)
        }
        rows = {index: row for index, row in enumerate(encoded) if isinstance(row, Row)}
        places, lengths = list(rows), [len(row.ids) for row in rows.values()]
        with torch.inference_mode():
            for batch in models.batches(lengths, tokens):
                chosen = [places[number] for number in batch]
                logits = self.model(**self._padded([rows[index] for index in chosen])).logits
                found |= zip(chosen, logits[:, 0].float().tolist(), strict=True)
        return [found[index] for index in range(len(conversations))]

    def _encoded(self, conversations: Sequence[cpt.Prompt]) -> list[Row | str]:
        """Each conversation as tokens, or why it cannot be."""
        context = models.context_of(self.model)
        encoded = (
            self._templated(conversations)
            if self.tokenizer.chat_template
            else [self._as_pair(conversation) for conversation in conversations]
        )
        return [
            f"its {len(row.ids)} tokens are more than the model's {context} positions"
            if isinstance(row, Row) and context and len(row.ids) > context
            else row
            for row in encoded
        ]

    def _templated(self, conversations: Sequence[cpt.Prompt]) -> list[Row | str]:
        chats = [[turn.plain() for turn in prompt.messages] for prompt in conversations]
        return [
            Row(ids) if isinstance(ids, list) else ids
            for ids in models.token_ids(self.tokenizer, chats)
        ]

    def _as_pair(self, conversation: cpt.Prompt) -> Row:
        """What was asked and the answer, as the tokenizer itself puts two texts together."""
        asked = attrs.evolve(conversation, messages=conversation.messages[:-1])
        answer = conversation.messages[-1].content
        both = self.tokenizer(asked.text, answer)
        takes_types = "token_type_ids" in signature(self.model.forward).parameters
        return Row(both["input_ids"], both.get("token_type_ids") if takes_types else None)

    def _padded(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """What the model is given, padded on the right. Shapes (rows, time)."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        def padded(values: Sequence[Sequence[int]], pad: int) -> Tensor:
            tensors = [torch.tensor(row, device=self.model.device) for row in values]
            return pad_sequence(tensors, True, pad)

        ids = [row.ids for row in rows]
        types = [row.types for row in rows if row.types is not None]
        return {
            "input_ids": padded(ids, self._pad(ids)),
            "attention_mask": padded([[1] * len(row) for row in ids], 0),
            **({"token_type_ids": padded(types, 0)} if types else {}),
        }

    def _pad(self, rows: Sequence[Sequence[int]]) -> int:
        """The token to pad with.

        Classifiers read the reward at the last token that is not it. Where the model names none,
        the tokenizer's is no choice: it is often EOS, which would move the reward of every answer
        that ends with one. A token that no row holds leaves it at the last.
        """
        config = self.model.config.get_text_config()
        if self.names_pad:
            return int(config.pad_token_id)
        held = {token for row in rows for token in row}
        config.pad_token_id = next(token for token in count() if token not in held)
        return int(config.pad_token_id)


def let_go() -> None:
    """Free the memory of the models that were asked."""
    import torch

    _load.cache_clear()
    torch.cuda.empty_cache()  # nothing without CUDA


@lru_cache(maxsize=2)
def _load(folder: str, weights: str, device: str, dtype: Dtype, trust_remote_code: bool) -> Loaded:
    """The model in a folder, as long as it is the one with these weights. Raises `CptError`."""
    from transformers import AutoModelForSequenceClassification

    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=dtype,
            output_loading_info=True,
            trust_remote_code=trust_remote_code,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        models.refuse_own_code(Path(folder), error)
        reason = " ".join(str(error).split())
        raise cpt.CptError(f"{folder}: no reward model that can be loaded ({reason}).") from error
    if model.num_labels != 1 or report["missing_keys"]:
        raise cpt.CptError(
            f"{folder}: not a reward model; it needs a trained classifier with one output, and has "
            f"{model.num_labels} outputs and {len(report['missing_keys'])} untrained weights."
        )
    named = model.config.get_text_config().pad_token_id is not None
    tokenizer = models.bare_tokenizer(Path(folder), trust_remote_code=trust_remote_code)
    if not tokenizer.chat_template:
        import logging  # slow to import

        logging.getLogger("cpt").warning("%s: %s", folder, PAIR)
    return Loaded(model.to(device).eval(), tokenizer, named)


@lru_cache
def has_template(folder: str, _digest: str, trust_remote_code: bool) -> bool:
    """Whether the tokenizer in a folder, as long as it has this digest, has a chat template."""
    tokenizer = models.bare_tokenizer(Path(folder), trust_remote_code=trust_remote_code)
    return bool(tokenizer.chat_template)
