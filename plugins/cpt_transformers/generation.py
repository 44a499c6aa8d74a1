"""Batched generation with a model in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, GenerationConfig

from cpt import CptError, Message, Outcome, Response, Usage, models
from cpt.models import load_tokenizer, suited_threads
from cpt_transformers.sampling import key, sampler

if TYPE_CHECKING:
    from cpt_transformers import Transformers


@attrs.frozen
class Request:
    """One answer that is wanted."""

    messages: tuple[Message, ...]
    sample: int


@attrs.frozen(eq=False)
class Loaded:
    """A model in memory."""

    model: Any
    tokenizer: Any
    ends: frozenset[int]
    """Tokens that end an answer."""

    def answer(self, requests: Sequence[Request], options: Transformers) -> list[Response]:
        """An answer to each request, whatever they are generated together with."""
        chats = [[attrs.asdict(turn) for turn in each.messages] for each in requests]
        texts = self.tokenizer.apply_chat_template(
            chats, tokenize=False, add_generation_prompt=True
        )
        prompts = self.tokenizer(texts, add_special_tokens=False).input_ids
        keys = [key(each.messages, each.sample, options.seed) for each in requests]
        answers: dict[int, Response] = {}
        for room, batch in self._batches(prompts, options):
            if room < 1:
                answers |= {index: self._too_long(prompts[index], options) for index in batch}
                continue
            said = self._generate(
                [prompts[index] for index in batch], [keys[index] for index in batch], room, options
            )
            for index, ids in zip(batch, said, strict=True):
                answers[index] = self._response(prompts[index], ids, options)
        return [answers[index] for index in range(len(requests))]

    def _batches(
        self, prompts: Sequence[Sequence[int]], options: Transformers
    ) -> Iterator[tuple[int, list[int]]]:
        """Batches of similar length, each with the tokens that every answer in it may have.

        A prompt that leaves less than `max_tokens` of the model's context is only put with others
        that leave as much: how long an answer may be does not depend on its company.
        """
        context = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

        def room(index: int) -> int:
            left = context - len(prompts[index]) if context else options.max_tokens
            return min(options.max_tokens, left)

        for tokens, group in groupby(sorted(range(len(prompts)), key=room), key=room):
            indices = list(group)
            lengths = [len(prompts[index]) for index in indices]
            for batch in models.batches(lengths, options.batch_tokens, extra=max(tokens, 0)):
                yield tokens, [indices[place] for place in batch]

    @torch.inference_mode()
    def _generate(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[int],
        room: int,
        options: Transformers,
    ) -> list[list[int]]:
        """The token ids of each answer, without what ends it if anything does."""
        ids, mask = _left_padded(prompts, self.model.device)
        config = GenerationConfig(
            max_new_tokens=room,
            do_sample=False,
            eos_token_id=sorted(self.ends),
            pad_token_id=min(self.ends),
        )
        chosen = sampler(
            keys,
            ids.shape[1],
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
        )
        with suited_threads(self.model.num_parameters()):
            said = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=chosen,
            )
        return said[:, ids.shape[1] :].tolist()  # type: ignore[no-any-return]

    def _response(
        self, prompt: Sequence[int], said: Sequence[int], options: Transformers
    ) -> Response:
        length = next((place for place, token in enumerate(said) if token in self.ends), None)
        text = self.tokenizer.decode(said[:length], skip_special_tokens=True)
        ended: Outcome = "answered" if text.strip() else "empty"
        return Response(
            prompt_id="",
            text=text,
            author=options.author,
            outcome="cut_off" if length is None else ended,
            finish_reason="length" if length is None else "stop",
            usage=Usage(
                input_tokens=len(prompt),
                output_tokens=len(said) if length is None else length + 1,
            ),
        )

    def _too_long(self, prompt: Sequence[int], options: Transformers) -> Response:
        return Response(
            prompt_id="",
            text="",
            author=options.author,
            outcome="failed",
            detail=f"the prompt's {len(prompt)} tokens leave no room in the model's context",
        )


def _left_padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[Tensor, Tensor]:
    """Token ids and mask. Shapes (rows, time)."""
    ids = [torch.tensor(row, device=device) for row in rows]
    mask = [torch.ones_like(row) for row in ids]
    return (
        pad_sequence(ids, batch_first=True, padding_side="left"),
        pad_sequence(mask, batch_first=True, padding_side="left"),
    )


@lru_cache(maxsize=4)
def load(folder: str, weights: str, device: str, dtype: str) -> Loaded:
    """The model in a folder, as long as it is the one with these weights. Raises `CptError`."""
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CptError(
            f"{folder}: no causal language model that can be loaded ({reason})."
        ) from error
    tokenizer = load_tokenizer(Path(folder))
    named = model.generation_config.eos_token_id
    ends = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])} - {None}
    # What it suggests for sampling would otherwise be used wherever we ask for nothing.
    model.generation_config = GenerationConfig()
    return Loaded(model.to(device).eval(), tokenizer, frozenset(ends))
