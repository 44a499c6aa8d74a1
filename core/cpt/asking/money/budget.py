"""A budget: what is in flight counts at the most that it may cost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cpt.asking.journal.keys import Request
from cpt.errors import CptError, Stopped
from cpt.roles import Responder
from cpt.types import Usage

BYTES_PER_TOKEN = 2
"""Fewer than with any common tokenizer, so that a prompt costs no more than estimated."""
LONG_ANSWER = 4096
"""Tokens that an answer may have, if nothing limits it and there are too few to compare."""
SEEN = 20
"""Answers after which their length is the measure for others."""
LONGER = 1.5
"""How many times the longest answer so far the next may be."""


def used_up(folder: Path, left: str) -> Stopped:
    """The error of a run whose budget is used up; `left` says what was not asked."""
    return Stopped(
        f"{folder}: the budget is used up {left}. Every answer is kept: the same command with a "
        "larger --budget continues."
    )


class CostFunction(Protocol):
    """US dollars for what one answer took; None where no price is known."""

    def __call__(
        self, responder: Responder, usage: Usage, *, batch: bool = False
    ) -> float | None: ...


class Budget:
    """Lets a request through only if the most that it may cost is left."""

    def __init__(
        self, budget: float, spent: float, price: CostFunction, *, batch: bool = False
    ) -> None:
        self.budget = budget
        self.spent = spent
        self._price = price
        self._batch = batch
        self._reserved = 0.0
        self._refused = 0.0
        self._longest = 0
        self._seen = 0
        self._settled = asyncio.Event()

    def __str__(self) -> str:
        return (
            f"${self.spent:.4f} of ${self.budget:g} are spent, "
            f"and one more may cost ${self._refused:.4f}"
        )

    async def reserve(self, responder: Responder, request: Request) -> float | None:
        """Dollars that are set aside for a request; None if they are not left.

        Waits while requests in flight may still turn out cheaper than what they hold. Raises
        `CptError` if no price is known.
        """
        while True:
            most = self._most(responder, request)
            if self.spent + self._reserved + most <= self.budget:
                self._reserved += most
                return most
            if self.spent + most > self.budget or not self._reserved:
                self._refused = most
                return None
            self._settled.clear()
            await self._settled.wait()

    @contextmanager
    def holding(self, reserved: float) -> Iterator[None]:
        """Give back what was set aside when the block ends."""
        try:
            yield
        finally:
            self._reserved = max(0.0, self._reserved - reserved)
            self._settled.set()

    def pay(self, cost: float, output_tokens: int) -> None:
        """Note what an answer cost."""
        self.spent += cost
        if output_tokens:
            self._seen += 1
            self._longest = max(self._longest, output_tokens)

    def _most(self, responder: Responder, request: Request) -> float:
        """Dollars that an answer may cost."""
        longest = round(LONGER * self._longest) if self._seen >= SEEN else LONG_ANSWER
        usage = Usage(
            input_tokens=len(request.messages.encode()) // BYTES_PER_TOKEN,
            output_tokens=responder.max_tokens or longest,
        )
        most = self._price(responder, usage, batch=self._batch)
        if most is None:
            raise CptError(
                f"{responder.name}:{responder.author}: no price is known, so no budget can be "
                "kept. Write its price in a file and give that as --prices, or ask without "
                "--budget."
            )
        return most
