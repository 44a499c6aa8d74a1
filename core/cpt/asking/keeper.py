"""Keeping answers: priced, durable in the journal, counted."""

from __future__ import annotations

import logging
from typing import Any

import attrs

from cpt.asking.journal.journal import Entry, Journal, Paid
from cpt.asking.journal.keys import Request
from cpt.asking.money.budget import Budget, CostFunction
from cpt.asking.money.tokens import input_tokens, text_tokens
from cpt.asking.stats import Stats
from cpt.roles import Responder, Service
from cpt.secrets import one_line, scrub, scrub_answer
from cpt.service.chat.finish import FINISH
from cpt.types import Outcome, Response, Usage

log = logging.getLogger("cpt")

DETAIL = 2000
"""Characters of a detail: a refusal may have a reason."""


@attrs.frozen(kw_only=True)
class Keeper:
    """Where answers go, in whichever way they were fetched."""

    journal: Journal | None
    stats: Stats
    price: CostFunction
    budget: Budget | None
    stage: str
    estimated: set[str] = attrs.field(factory=set)
    """Responders of which it was said that their costs are estimated."""

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
        paid, output_tokens = self._priced(responder, request, response, batch)
        entry = self.entry(responder, request)
        if response.outcome.is_final:
            await entry.keep(paid, calls)
        else:
            self.stats.unfinished += responder.journaled
            entry.fail(paid.response.detail)
        self.stats.count(paid.response, paid.cost)
        if self.budget:
            self.budget.pay(paid.cost or 0.0, output_tokens)
        return paid

    def doubt(
        self, responder: Responder, request: Request, response: Response, calls: int
    ) -> Doubted:
        """Count a rejection that may not be about the prompt; another run would ask it again."""
        paid = Paid(_clean(response), 0.0)
        entry = self.entry(responder, request)
        entry.fail(paid.response.detail)
        self.stats.unfinished += responder.journaled
        self.stats.count(paid.response, 0.0)
        return Doubted(entry, paid, calls)

    async def settle(self, doubted: Doubted) -> None:
        """It was about the prompt: keep it."""
        await doubted.entry.keep(doubted.paid, doubted.calls)
        self.stats.unfinished -= doubted.entry.journal is not None

    def _priced(
        self, responder: Responder, request: Request, response: Response, batch: bool
    ) -> tuple[Paid, int]:
        """The response with its price, and the output tokens that it is of."""
        response = _clean(response)
        # No provider bills a request that it rejected.
        if response.outcome is Outcome.REJECTED:
            return Paid(response, 0.0), 0
        usage = response.usage
        if isinstance(responder, Service) and not _is_complete(response):
            usage = _estimated(request, response)
        cost = self.price(responder, usage, batch=batch)
        if cost and usage is not response.usage and responder.name not in self.estimated:
            self.estimated.add(responder.name)
            log.warning(
                "%s:%s reports no token counts; costs are estimated from the length of the texts",
                responder.name,
                responder.author,
            )
        return Paid(response, cost), usage.output_tokens


@attrs.frozen
class Doubted:
    """A rejection that is kept only once the service has shown that it answers others."""

    entry: Entry
    paid: Paid
    calls: int


def _is_complete(response: Response) -> bool:
    """Whether all tokens were counted that there must be."""
    usage = response.usage
    return bool(usage.input_tokens and (usage.output_tokens or not response.text))


def _estimated(request: Request, response: Response) -> Usage:
    """What was counted, the rest estimated."""
    usage, author = response.usage, response.author
    turns = [turn["content"] for turn in request.turns]
    return Usage(
        input_tokens=usage.input_tokens or input_tokens(author, turns)[0],
        cached_tokens=usage.cached_tokens,
        output_tokens=usage.output_tokens or text_tokens(author, response.text)[0],
    )


def _clean(response: Response) -> Response:
    """Without secrets, and without halves of characters, which a file cannot hold."""
    texts = {name: getattr(response, name) for name in ("text", "finish_reason", "detail")}
    try:
        "".join(texts.values()).encode()
    except UnicodeEncodeError:
        texts = {name: text.encode(errors="replace").decode() for name, text in texts.items()}
    texts["text"] = scrub_answer(texts["text"])
    if texts["detail"]:
        texts["detail"] = scrub(texts["detail"])[:DETAIL]
    if texts["finish_reason"] not in FINISH:
        texts["finish_reason"] = one_line(texts["finish_reason"])
    changed: dict[str, Any] = {
        name: text for name, text in texts.items() if text != getattr(response, name)
    }
    return attrs.evolve(response, **changed) if changed else response
