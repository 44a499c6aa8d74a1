"""A reward model as a judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

import attrs

import cpt
from cpt import models

if TYPE_CHECKING:
    from torch import Tensor

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
IN_USE = Lock()
"""One model at a time: several would only slow each other down."""


@attrs.frozen
class RewardModel(cpt.Judge):
    """A sequence classifier with one output: the higher, the better the answer.

    The conversation goes through its chat template. Scores are kept as answers are, so that none
    is computed twice, and calls at the same time are computed together.
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
        return cpt.Verdict(
            scores=tuple(float(answer.expect().text) for answer in said),
            raw=tuple(answer.text for answer in said),
        )


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
        return {
            "responder": self.name,
            "weights": self._digest,
            "dtype": self.dtype,
        }

    @property
    def _digest(self) -> str:
        return models.digest_of(self.model, trust_remote_code=self.trust_remote_code)

    def answer_all(self, requests: Sequence[tuple[cpt.Prompt, int]]) -> Sequence[cpt.Response]:
        chats = [[attrs.asdict(turn) for turn in prompt.messages] for prompt, _ in requests]
        with IN_USE:
            loaded = _load(
                str(models.folder_of(self.model)),
                self._digest,
                models.device_of(self.device),
                self.dtype,
                self.trust_remote_code,
            )
            scores = loaded.scores(chats, self.batch_tokens)
        return [
            cpt.Response(prompt_id=prompt.id, text=repr(score), author=self.author)
            for (prompt, _), score in zip(requests, scores, strict=True)
        ]


@attrs.frozen(eq=False)
class Loaded:
    """A reward model in memory."""

    model: Any
    tokenizer: Any
    names_pad: bool
    """Whether its configuration names the token to pad with."""

    def scores(self, chats: Sequence[Sequence[Mapping[str, str]]], tokens: int) -> list[float]:
        """The reward of each conversation, whatever it is computed together with."""
        import torch

        texts = self.tokenizer.apply_chat_template(chats, tokenize=False)
        rows = self.tokenizer(texts, add_special_tokens=False).input_ids
        found: dict[int, float] = {}
        with torch.inference_mode():
            for batch in models.batches([len(row) for row in rows], tokens):
                ids, mask = self._padded([rows[index] for index in batch])
                logits = self.model(input_ids=ids, attention_mask=mask).logits
                found |= zip(batch, logits[:, 0].float().tolist(), strict=True)
        return [found[index] for index in range(len(rows))]

    def _padded(self, rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Token ids and mask, padded on the right. Shapes (rows, time)."""
        import torch
        from torch.nn.utils.rnn import pad_sequence

        ids = [torch.tensor(row, device=self.model.device) for row in rows]
        mask = [torch.ones_like(row) for row in ids]
        pad = self._pad(rows)
        return pad_sequence(ids, True, pad), pad_sequence(mask, True, 0)

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
    tokenizer = models.load_tokenizer(Path(folder), trust_remote_code=trust_remote_code)
    return Loaded(model.to(device).eval(), tokenizer, named)
