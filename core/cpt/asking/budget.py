"""Money that may be spent: what is in flight counts before its price is known."""

from __future__ import annotations

import asyncio

BYTES_PER_TOKEN = 2
"""Fewer than in any common tokenizer's text, so that a prompt costs no more than we think."""
LONG_ANSWER = 4096
"""Tokens that an answer may have, if nothing limits it and we have seen too few."""
SEEN = 20
"""Answers after which their length says how long others may be."""
LONGER = 1.5
"""How many times the longest answer so far the next may be."""


class Purse:
    """Lets a request through only if its cost surely fits into what is left."""

    def __init__(self, budget: float, spent: float) -> None:
        self.budget = budget
        self.spent = spent
        self._reserved = 0.0
        self._longest = 0
        self._seen = 0
        self._settled = asyncio.Event()

    @property
    def longest(self) -> int:
        """Tokens of the longest answer to be expected where nothing limits it."""
        return round(LONGER * self._longest) if self._seen >= SEEN else LONG_ANSWER

    async def reserve(self, most: float) -> bool:
        """Set `most` dollars aside; False if they are not there, even once others have paid."""
        while self.spent + self._reserved + most > self.budget:
            if self.spent + most > self.budget or not self._reserved:
                return False
            self._settled.clear()
            await self._settled.wait()
        self._reserved += most
        return True

    def release(self, most: float) -> None:
        """Give back what was set aside, whatever it was used for."""
        self._reserved = max(0.0, self._reserved - most)
        self._settled.set()

    def pay(self, cost: float, output_tokens: int) -> None:
        """Note what an answer cost."""
        self.spent += cost
        if output_tokens:
            self._seen += 1
            self._longest = max(self._longest, output_tokens)
