"""Batched generation with a model in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    AutoModelForCausalLM,
    GenerationConfig,
    StoppingCriteria,
    StoppingCriteriaList,
)

from cpt import CptError, Message, Outcome, Response, Usage, models
from cpt.models import load_tokenizer, refuse_own_code, suited_threads
from cpt_transformers.sampling import key, sampler

if TYPE_CHECKING:
    from cpt_transformers.responder import Transformers

Known = tuple[str, str, str, str, bool]
"""What a model was read from, and how: the arguments of `load`."""
IN_MEMORY: dict[Known, Loaded] = {}
"""The models that were read, the one that was asked last at the end."""
MOST_IN_MEMORY = 4
LARGE = 2 << 30
"""Bytes of weights that are let go before something else may need the memory."""


@attrs.frozen
class Request:
    """One answer that is wanted."""

    messages: tuple[Message, ...]
    sample: int


@attrs.frozen(eq=False)
class Counter(StoppingCriteria):  # type: ignore[misc]
    """Stops nothing: reports how many answers got another token, at every step."""

    ends: frozenset[int]
    report: Callable[[int], None]

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        """Shape (rows, time) to (rows,)."""
        ends = torch.tensor(sorted(self.ends), device=input_ids.device)
        ended = torch.isin(input_ids[:, -1], ends)
        self.report(len(input_ids) - int(ended.sum()))
        return torch.zeros_like(ended)


@attrs.frozen(eq=False)
class Loaded:
    """A model in memory."""

    model: Any
    tokenizer: Any
    ends: frozenset[int]
    """Tokens that end an answer."""

    @property
    def is_large(self) -> bool:
        """Whether two such models may be more than a GPU holds."""
        return int(self.model.get_memory_footprint()) > LARGE

    def answer(
        self,
        requests: Sequence[Request],
        options: Transformers,
        answered: Callable[[int, Response], None],
        generated: Callable[[int], None],
    ) -> None:
        """Answer each request; which are generated together does not change any."""
        chats = [[turn.plain() for turn in request.messages] for request in requests]
        rendered = models.token_ids(self.tokenizer, chats, add_generation_prompt=True)
        prompts = {index: ids for index, ids in enumerate(rendered) if isinstance(ids, list)}
        keys = [key(request.messages, request.sample, options.seed) for request in requests]
        for index, why in enumerate(rendered):
            if isinstance(why, str):
                answered(index, self._rejected(why, options))
        for limit, batch in self._batches(prompts, options):
            if limit < 1:
                for index in batch:
                    answered(index, self._too_long(prompts[index], options))
                continue
            answers = self._generate(
                [prompts[index] for index in batch],
                [keys[index] for index in batch],
                limit,
                options,
                generated,
            )
            for index, ids in zip(batch, answers, strict=True):
                answered(index, self._response(prompts[index], ids, options))

    def _batches(
        self, prompts: Mapping[int, Sequence[int]], options: Transformers
    ) -> Iterator[tuple[int, list[int]]]:
        """Batches of similar length, each with the tokens that every answer in it may have.

        A prompt that leaves less than `max_tokens` of the model's context is only put with others
        that leave as much: how long an answer may be does not depend on its batch.
        """
        context = models.context_of(self.model)

        def limit(index: int) -> int:
            left = context - len(prompts[index]) if context else options.max_tokens
            return min(options.max_tokens, left)

        for tokens, group in groupby(sorted(prompts, key=limit), key=limit):
            indices = list(group)
            lengths = [len(prompts[index]) for index in indices]
            for batch in models.batches(lengths, options.batch_tokens, extra=max(tokens, 0)):
                yield tokens, [indices[number] for number in batch]

    @torch.inference_mode()
    def _generate(
        self,
        prompts: Sequence[Sequence[int]],
        keys: Sequence[int],
        limit: int,
        options: Transformers,
        report: Callable[[int], None],
    ) -> list[list[int]]:
        """The token ids of each answer, without what ends it if anything does."""
        ids, mask = _left_padded(prompts, self.model.device)
        config = GenerationConfig(
            max_new_tokens=limit,
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
            generated = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=config,
                logits_processor=chosen,
                stopping_criteria=StoppingCriteriaList([Counter(self.ends, report)]),
            )
        return generated[:, ids.shape[1] :].tolist()  # type: ignore[no-any-return]

    def _response(
        self, prompt: Sequence[int], ids: Sequence[int], options: Transformers
    ) -> Response:
        length = next((index for index, token in enumerate(ids) if token in self.ends), None)
        text = self.tokenizer.decode(ids[:length], skip_special_tokens=True)
        ended = Outcome.ANSWERED if text.strip() else Outcome.EMPTY
        return Response(
            prompt_id="",
            text=text,
            author=options.author,
            outcome=Outcome.CUT_OFF if length is None else ended,
            finish_reason="length" if length is None else "stop",
            usage=Usage(
                input_tokens=len(prompt),
                output_tokens=len(ids) if length is None else length + 1,
            ),
        )

    def _too_long(self, prompt: Sequence[int], options: Transformers) -> Response:
        why = f"the prompt's {len(prompt)} tokens leave no room in the model's context"
        return self._rejected(why, options)

    def _rejected(self, why: str, options: Transformers) -> Response:
        return Response(
            prompt_id="",
            text="",
            author=options.author,
            outcome=Outcome.REJECTED,
            detail=why,
        )


def _left_padded(rows: Sequence[Sequence[int]], device: Any) -> tuple[Tensor, Tensor]:
    """Token ids and mask. Shapes (rows, time)."""
    ids = [torch.tensor(row, device=device) for row in rows]
    mask = [torch.ones_like(row) for row in ids]
    return (
        pad_sequence(ids, batch_first=True, padding_side="left"),
        pad_sequence(mask, batch_first=True, padding_side="left"),
    )


def load(folder: str, digest: str, device: str, dtype: str, trust_remote_code: bool) -> Loaded:
    """The model in a folder, loaded once for each digest of it. Raises `CptError`.

    What a folder held before is let go: as it is trained, a model is another one each time. So is
    a large model when another one is read.
    """
    wanted = (folder, digest, device, dtype, trust_remote_code)
    if found := IN_MEMORY.pop(wanted, None):
        IN_MEMORY[wanted] = found
        return found
    # No name here may hold a model that is let go: it would stay until the other one is read.
    for known in [known for known in IN_MEMORY if _gives_way(known, folder, digest)]:
        del IN_MEMORY[known]
    while len(IN_MEMORY) >= MOST_IN_MEMORY:
        del IN_MEMORY[next(iter(IN_MEMORY))]
    IN_MEMORY[wanted] = _read(folder, device, dtype, trust_remote_code)
    return IN_MEMORY[wanted]


def let_go() -> None:
    """Free the memory of large models; whoever asks one again waits until it is read."""
    for known in [known for known, found in IN_MEMORY.items() if found.is_large]:
        del IN_MEMORY[known]
    torch.cuda.empty_cache()  # nothing without CUDA


def _gives_way(known: Known, folder: str, digest: str) -> bool:
    """Whether a model is let go for another: the same folder's as it was, or a large one."""
    anew = known[0] == folder and known[1] != digest
    return anew or IN_MEMORY[known].is_large


def _read(folder: str, device: str, dtype: str, trust_remote_code: bool) -> Loaded:
    models.hide_bars()
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        refuse_own_code(Path(folder), error)
        reason = " ".join(str(error).split())
        raise CptError(
            f"{folder}: no causal language model that can be loaded ({reason})."
        ) from error
    tokenizer = load_tokenizer(Path(folder), trust_remote_code=trust_remote_code)
    configured = model.generation_config.eos_token_id
    ends = {
        tokenizer.eos_token_id,
        *(configured if isinstance(configured, list) else [configured]),
    } - {None}
    # What it suggests for sampling would otherwise be used wherever we ask for nothing.
    model.generation_config = GenerationConfig()
    return Loaded(model.to(device).eval(), tokenizer, frozenset(ends))
