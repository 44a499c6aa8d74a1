"""Fakes of what a run supplies."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from itertools import combinations
from math import nan
from typing import TYPE_CHECKING

import attrs

from cpt.roles import Local, Need, Responder, Service
from cpt.types import Batch, Logps, Message, Pair, Prompt, Response, TokenLogps

if TYPE_CHECKING:
    from torch import Generator

RUNGS = ("strong", "middle", "weak")


def fake_prompts(count: int = 4) -> list[Prompt]:
    """Prompts of one message each, all different."""
    return [
        Prompt(id=f"p{index}", messages=(Message("user", f"What is {index} plus {index}?"),))
        for index in range(count)
    ]


def fake_responses(prompt: Prompt, count: int = 3) -> list[Response]:
    """Different answers to one prompt, by different authors."""
    return [
        Response(prompt_id=prompt.id, text=f"Answer {index} to {prompt.id}.", author=f"a{index}")
        for index in range(count)
    ]


def fake_pairs(count: int = 9) -> list[Pair]:
    """What a ladder of three rungs gives, until there are `count`: tiers 1, 2, 1 for each prompt.

    Margins do not rise with the index; the first 97 all differ.
    """
    prompts = fake_prompts(-(-count // 3))
    return [
        Pair(
            prompt=prompt,
            chosen=_response(prompt, better),
            rejected=_response(prompt, worse),
            pairer="fake",
            tier=RUNGS.index(worse) - RUNGS.index(better),
            margin=float((5 * index) % 97),
        )
        for index, (prompt, (better, worse)) in enumerate(
            (prompt, rungs) for prompt in prompts for rungs in combinations(RUNGS, 2)
        )
    ][:count]


def _response(prompt: Prompt, author: str) -> Response:
    return Response(prompt_id=prompt.id, text=f"The {author} answer to {prompt.id}.", author=author)


def fake_batch(
    pairs: int = 4,
    *,
    needs: Collection[Need] = ("rejected", "reference", "tokens", "mismatched", "score"),
    seq_len: int = 6,
    seed: int = 0,
    known: bool = True,
) -> Batch:
    """A batch that holds just what is named in `needs`, its policy side wanting gradients.

    Responses differ in length, from 1 to `seq_len` tokens; log-probabilities of a token are from -2
    to 0 nats. `known=False` leaves tiers, margins and scores unknown.
    """
    import torch

    draw = torch.Generator().manual_seed(seed)
    chosen, rejected, mismatched = (_side(pairs, seq_len, needs, draw) for _ in range(3))
    margin, better, worse = (
        torch.rand(pairs, generator=draw) if known else torch.full((pairs,), nan) for _ in range(3)
    )
    return Batch(
        ids=tuple(f"pair-{number}" for number in range(pairs)),
        prompt_infos=tuple({"number": number} for number in range(pairs)),
        chosen=chosen,
        rejected=rejected if "rejected" in needs else None,
        mismatched=mismatched if "mismatched" in needs else None,
        tier=torch.arange(pairs) % 2 + 1 if known else torch.zeros(pairs, dtype=torch.int64),
        margin=margin,
        chosen_score=better + 1.0,
        rejected_score=worse,
        progress=0.5,
    )


def _side(pairs: int, seq_len: int, needs: Collection[Need], draw: Generator) -> Logps:
    """Log-probabilities of one side: the leaf that wants gradients is token by token."""
    import torch

    length = torch.randint(1, seq_len + 1, (pairs,), generator=draw)
    mask = torch.arange(seq_len) < length.unsqueeze(1)
    policy, reference = (-2.0 * torch.rand(pairs, seq_len, generator=draw) * mask for _ in range(2))
    tokens = TokenLogps(
        policy=policy.requires_grad_(),
        reference=reference if "reference" in needs else None,
        mask=mask,
    )
    return Logps(
        policy=policy.sum(1),
        length=length,
        reference=reference.sum(1) if "reference" in needs else None,
        tokens=tokens if "tokens" in needs else None,
        scored="score" in needs,
    )


@attrs.frozen
class Scripted(Local):
    """Answers from a script."""

    name = "scripted"
    model: str = "scripted"
    """The author of its answers."""
    says: tuple[str, ...] = ("Answer {sample} to {id}.",)
    """What it says to sample 0, 1, ... of any prompt, then again from the first.

    {id}, {sample} and {prompt} (its last message) become those of the request.
    """
    temperature: float = 1.0
    """Changes nothing; models that are evaluated have it."""

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        """Answer every request from the script."""
        return [self._answer(prompt, sample) for prompt, sample in requests]

    def _answer(self, prompt: Prompt, sample: int) -> Response:
        # Not str.format: a script may hold braces of its own.
        text = self.says[sample % len(self.says)]
        for name, value in (
            ("id", prompt.id),
            ("sample", str(sample)),
            ("prompt", prompt.messages[-1].content),
        ):
            text = text.replace(f"{{{name}}}", value)
        return Response(prompt_id=prompt.id, text=text, author=self.author)


@attrs.define
class FakeAsk:
    """An `Ask` that keeps its answers in memory: no retries, no limits, no cost."""

    asked: list[tuple[str, str, int]] = attrs.field(factory=list)
    """Author, prompt id and sample of every request that was made."""
    _answers: dict[str, Response] = attrs.field(factory=dict)

    async def __call__(self, responder: Responder, prompt: Prompt, sample: int = 0) -> Response:
        """Ask once; the same question again gets the same answer."""
        messages = [message.plain() for message in prompt.messages]
        key = json.dumps([responder.identity, messages, sample], sort_keys=True, default=str)
        if key not in self._answers:
            self.asked.append((responder.author, prompt.id, sample))
            self._answers[key] = await _ask(responder, prompt, sample)
        return attrs.evolve(self._answers[key], prompt_id=prompt.id)


async def _ask(responder: Responder, prompt: Prompt, sample: int) -> Response:
    if isinstance(responder, Service):
        return await responder.answer(prompt, sample)
    assert isinstance(responder, Local), "a responder is a Service or a Local"
    return responder.answer_all([(prompt, sample)])[0]
