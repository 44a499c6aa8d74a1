"""Keeping answers: priced, durable in the journal, counted."""

from __future__ import annotations

import attrs

from cpt.asking.journal.journal import Entry, Journal, Paid
from cpt.asking.journal.keys import Request
from cpt.asking.money.budget import Budget, Price
from cpt.asking.stats import Stats
from cpt.roles import Responder
from cpt.types import Outcome, Response


@attrs.frozen(kw_only=True)
class Keeper:
    """Where answers go, in whichever way they were fetched."""

    journal: Journal | None
    stats: Stats
    price: Price
    budget: Budget | None
    stage: str

    def entry(self, responder: Responder, request: Request) -> Entry:
        """The place of a request in the journal."""
        return Entry(self.journal if responder.journaled else None, request, self.stage)

    async def keep(
        self,
        responder: Responder,
        request: Request,
        response: Response,
        calls: int = 1,
        *,
        batch: bool = False,
    ) -> Paid:
        """Make a response durable, after so many calls. It is there once this returns."""
        paid = Paid(_writable(response), self._cost(responder, response, batch))
        entry = self.entry(responder, request)
        if response.outcome.is_final:
            await entry.keep(paid, calls)
        else:
            self.stats.unfinished += responder.journaled
            entry.fail(paid.response.detail)
        self.stats.count(paid.response, paid.cost)
        if self.budget:
            self.budget.pay(paid.cost or 0.0, response.usage.output_tokens)
        return paid

    def _cost(self, responder: Responder, response: Response, batch: bool) -> float | None:
        # No provider bills a request that it rejected.
        if response.outcome is Outcome.REJECTED:
            return 0.0
        return self.price(responder, response.usage, batch=batch)


def _writable(response: Response) -> Response:
    """Without halves of characters, which JSON can hold and a file cannot."""
    texts = {name: getattr(response, name) for name in ("text", "finish_reason", "detail")}
    try:
        "".join(texts.values()).encode()
    except UnicodeEncodeError:
        whole = {name: text.encode(errors="replace").decode() for name, text in texts.items()}
        return attrs.evolve(response, **whole)
    return response
