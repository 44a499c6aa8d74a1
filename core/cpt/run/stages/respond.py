"""Prompts and a responder to answers: what `cpt respond` does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cpt.asking import Asker, in_order
from cpt.asking.journal.journal import Paid
from cpt.asking.options import Asking
from cpt.data.rows.writing import COUNT, MESSAGES, NUMBER, TEXT, plain_messages, writing
from cpt.roles import Responder, Service
from cpt.types import Prompt

COLUMNS = {
    **{"id": TEXT, "sample": COUNT},
    **dict.fromkeys(("text", "author", "outcome", "finish_reason", "detail"), TEXT),
    **dict.fromkeys(("input_tokens", "cached_tokens", "output_tokens"), COUNT),
    **{"cost": NUMBER, "prompt": MESSAGES},
}

Answer = tuple[Prompt, int, Paid]
"""A prompt, the number of the sample, and what was answered."""


def respond(
    prompts: Iterable[Prompt],
    responder: Responder,
    output: Path,
    *,
    samples: int = 1,
    asking: Asking | None = None,
    total: int | None = None,
) -> dict[str, Any]:
    """Ask every prompt, `samples` times, and write `responses.parquet` in their order.

    Returns counts as plain data; `unfinished` is how many another run would ask again, `reasons`
    an example of each outcome that has one. Raises `CptError` if it was stopped: the answers so
    far are in `journal.sqlite`.
    """
    asking = asking or Asking()
    return asyncio.run(_respond(prompts, responder, output, samples, asking, total))


async def _respond(
    prompts: Iterable[Prompt],
    responder: Responder,
    output: Path,
    samples: int,
    asking: Asking,
    total: int | None,
) -> dict[str, Any]:
    requests = ((prompt, sample) for prompt in prompts for sample in range(samples))
    journal = output / "journal.sqlite"
    answers = total * samples if total is not None else None
    outcomes: Counter[str] = Counter()
    reasons: dict[str, str] = {}
    async with Asker(journal, options=asking, stage="responses", total=answers) as ask:

        async def one(request: tuple[Prompt, int]) -> Answer:
            return *request, await ask.paid(responder, *request)

        with writing(output / "responses.parquet", COLUMNS) as add:
            async for answer in in_order(requests, one, _at_once(responder, asking)):
                ask.advance()
                response = answer[2].response
                outcomes[response.outcome.value] += 1
                if response.detail:
                    why = f"prompt {response.prompt_id}: {response.detail}"
                    reasons.setdefault(response.outcome.value, why)
                add(_row(*answer))
    counts = {"responses": outcomes.total(), "outcomes": dict(outcomes), **ask.stats.plain()}
    return {**counts, "reasons": reasons}


def _at_once(responder: Responder, asking: Asking) -> int:
    """As many as keep the service busy while others of them wait for the disk or a retry."""
    most = responder.concurrency if isinstance(responder, Service) else 1
    return max(asking.under_way, 2 * most)


def _row(prompt: Prompt, sample: int, paid: Paid) -> dict[str, Any]:
    response = paid.response
    return {
        "id": prompt.id,
        "sample": sample,
        "text": response.text,
        "author": response.author,
        "outcome": response.outcome,
        "finish_reason": response.finish_reason,
        "detail": response.detail,
        "input_tokens": response.usage.input_tokens,
        "cached_tokens": response.usage.cached_tokens,
        "output_tokens": response.usage.output_tokens,
        "cost": paid.cost,
        "prompt": plain_messages(prompt.messages),
    }
