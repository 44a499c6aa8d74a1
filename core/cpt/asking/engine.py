"""The response engine: every answer is paid for once, and kept."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

import attrs

from cpt.asking.dispatch import Dispatcher
from cpt.asking.journal import keys
from cpt.asking.journal.journal import Journal, Paid
from cpt.asking.journal.keys import Request
from cpt.asking.keeper import Keeper
from cpt.asking.money.budget import Budget, CostFunction, used_up
from cpt.asking.money.prices import Prices
from cpt.asking.options import Asking
from cpt.asking.progress import Progress
from cpt.asking.stats import Stats
from cpt.asking.stop import Stop, interruptible
from cpt.asking.transports.batch_timing import Timing
from cpt.asking.transports.endpoint import GivenUp, unanswered
from cpt.paths import resolve
from cpt.roles import Responder
from cpt.types import Outcome, Prompt, Response

log = logging.getLogger("cpt")


class Asker:
    """Asks responders; an async context manager that holds the journal while it is entered.

    `await asker(responder, prompt, sample)` is the answer: from the journal if it is there, else
    from the responder, durable before it is returned. What is in flight when the block ends, for
    whatever reason, is awaited and kept. Ctrl-C ends the block; a second one ends the process.
    """

    def __init__(
        self,
        journal: Path | None,
        *,
        options: Asking | None = None,
        total: int | None = None,
        stage: str = "",
        price: CostFunction | None = None,
        timing: Timing | None = None,
        progress: bool = True,
    ) -> None:
        self.stats = Stats()
        self._options = options or Asking()
        self._stage = stage
        self._price = price or _price(self._options)
        self._path = journal
        self._total = total
        self._timing = timing
        self._progress = progress
        self._stop = Stop()
        self._keeper: Keeper
        self._dispatcher: Dispatcher
        self._exit: AsyncExitStack
        self._asked: set[str] = set()
        self._flights: dict[str, asyncio.Task[Paid]] = {}
        self._identities: dict[int, tuple[Responder, str]] = {}

    async def __aenter__(self) -> Asker:
        async with AsyncExitStack() as opened:
            journal = Journal(self._path) if self._path else None
            if journal:
                opened.callback(journal.close)
            self._keeper = Keeper(
                journal=journal,
                stats=self.stats,
                price=self._price,
                budget=self._open_budget(journal),
                stage=self._stage,
            )
            if self._progress:
                progress = Progress(self.stats, self._total, self._stage)
                opened.push_async_callback(progress.close)
            self._dispatcher = Dispatcher(self._keeper, self._options, self._stop, self._timing)
            opened.push_async_callback(self._dispatcher.close)
            opened.enter_context(interruptible(self._stop, lambda: self.stats.in_flight))
            self._exit = opened.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self._stop.set(error)
        while self._flights:
            await asyncio.gather(*self._flights.values(), return_exceptions=True)
        await self._exit.aclose()

    async def __call__(self, responder: Responder, prompt: Prompt, sample: int = 0) -> Response:
        """Answer number `sample` of `responder` to `prompt`."""
        return (await self.paid(responder, prompt, sample)).response

    async def paid(self, responder: Responder, prompt: Prompt, sample: int = 0) -> Paid:
        """The same, with its price."""
        request = self._request(responder, prompt, sample)
        journal = self._keeper.journal
        if not (journal and responder.journaled):
            return await self._fetch(responder, prompt, request)
        flight = self._flights.get(request.key)
        if flight is None:
            if kept := self._find(journal, request):
                self.stats.from_journal += 1
                self.stats.kept[kept.response.outcome] += 1
                if kept.response.outcome is Outcome.ANSWERED:
                    self._dispatcher.trust(responder)
                return kept
            if self._options.again:
                self._asked.add(request.key)
            flight = asyncio.create_task(self._fetch(responder, prompt, request))
            self._flights[request.key] = flight
            flight.add_done_callback(lambda done: self._land(request.key, done))
        # A caller that gives up must not take a paid answer with it.
        paid = await asyncio.shield(flight)
        if paid.response.prompt_id == prompt.id:
            return paid
        return Paid(attrs.evolve(paid.response, prompt_id=prompt.id), paid.cost)

    def _find(self, journal: Journal, request: Request) -> Paid | None:
        """What the journal has, unless that is to be asked again and was not yet."""
        kept = journal.find(request)
        outcomes = self._options.again
        again = outcomes and kept and kept.response.outcome in outcomes
        return None if again and request.key not in self._asked else kept

    def stop_if_over_budget(self, folder: Path) -> None:
        """Raise `Stopped` if a run in this folder has not asked something for want of money."""
        if over := self.stats.outcomes[Outcome.OVER_BUDGET]:
            raise used_up(folder, f"and {over} requests were not sent")

    def advance(self, items: int = 1) -> None:
        """Count so many of the `total` as done, for the progress line."""
        self.stats.items += items

    def _land(self, key: str, flight: asyncio.Task[Paid]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()

    async def _fetch(self, responder: Responder, prompt: Prompt, request: Request) -> Paid:
        budget = self._keeper.budget
        try:
            if budget is None:
                return await self._dispatcher.answer(responder, prompt, request)
            reserved = await budget.reserve(responder, request)
            if reserved is None:
                return self._unanswered(responder, prompt, Outcome.OVER_BUDGET, str(budget))
            with budget.holding(reserved):
                return await self._dispatcher.answer(responder, prompt, request)
        except GivenUp as error:
            self._keeper.entry(responder, request).fail(str(error))
            return self._unanswered(responder, prompt, error.outcome, str(error))

    def _open_budget(self, journal: Journal | None) -> Budget | None:
        if self._options.budget is None:
            return None
        spent, unpriced = journal.spent() if journal else (0.0, 0)
        if unpriced:
            log.warning("the budget leaves out %d answers whose price is unknown", unpriced)
        return Budget(self._options.budget, spent, self._price, batch=self._options.batch)

    def _unanswered(self, responder: Responder, prompt: Prompt, outcome: Outcome, why: str) -> Paid:
        """A response without an answer, not kept: the next run asks again."""
        self.stats.unfinished += 1
        self.stats.outcomes[outcome] += 1
        return Paid(unanswered(responder, prompt, outcome, why), 0.0)

    def _request(self, responder: Responder, prompt: Prompt, sample: int) -> Request:
        if id(responder) not in self._identities:
            self._identities[id(responder)] = responder, keys.canonical(responder.identity)
        return keys.request(responder, prompt, sample, self._identities[id(responder)][1])


def _price(options: Asking) -> CostFunction:
    own = Path(resolve(options.prices)) if options.prices else None
    return Prices.load(own).cost
