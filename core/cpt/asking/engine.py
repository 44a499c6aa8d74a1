"""The response engine: whatever is asked is paid for once and kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol

import attrs

from cpt.asking import keys
from cpt.asking.batchable import BatchService
from cpt.asking.batches import Batches, Timing
from cpt.asking.budget import BYTES_PER_TOKEN, Purse
from cpt.asking.halt import Halt
from cpt.asking.interrupts import interruptible
from cpt.asking.journal import Journal
from cpt.asking.keys import Request
from cpt.asking.ledger import pending
from cpt.asking.local import Batcher
from cpt.asking.options import Asking
from cpt.asking.prices import Prices
from cpt.asking.progress import Progress
from cpt.asking.secrets import scrub
from cpt.asking.service import Endpoint, GivenUp, failed
from cpt.asking.tally import Tally
from cpt.errors import CptError, Denied, Overloaded, Rejected, Unreachable
from cpt.paths import resolve
from cpt.roles import Local, Responder, Service
from cpt.types import Prompt, Response, Usage


class Price(Protocol):
    """US dollars for what one answer took; None where no price is known."""

    def __call__(
        self, responder: Responder, usage: Usage, *, batch: bool = False
    ) -> float | None: ...


class Asker:
    """Asks responders; an async context manager that holds the journal while it is entered.

    `await asker(responder, prompt, sample)` is the answer: from the journal if it is there, else
    from the responder, durable before it is returned. What is in flight when the block ends, for
    whatever reason, is awaited and kept. Ctrl-C ends the block so, a second one leaves at once.
    """

    def __init__(
        self,
        journal: Path | None,
        *,
        options: Asking | None = None,
        total: int | None = None,
        stage: str = "",
        price: Price | None = None,
        timing: Timing | None = None,
        progress: bool = True,
    ) -> None:
        self.tally = Tally()
        self._total = total
        self._progress = progress
        self._options = options or Asking()
        self._stage = stage
        self._price = price or _price(self._options)
        self._timing = timing
        self._path = journal
        self._journal: Journal | None = None
        self._batches: Batches | None = None
        self._purse: Purse | None = None
        self._halt = Halt()
        self._exit = AsyncExitStack()
        self._flights: dict[str, asyncio.Task[Response]] = {}
        self._endpoints: dict[tuple[str, str, str], Endpoint] = {}
        self._services: dict[int, Service] = {}
        self._batchers: dict[str, Batcher] = {}
        self._identities: dict[int, tuple[Responder, str]] = {}
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cpt-local")

    async def __aenter__(self) -> Asker:
        async with AsyncExitStack() as opened:
            if self._path:
                self._journal = Journal(self._path)
                opened.callback(self._journal.close)
                if self._options.batch or pending(self._path):
                    self._batches = Batches(
                        self._path, self._keep_batched, self._halt, self._timing
                    )
            if self._options.budget is not None:
                spent = self._journal.spent() if self._journal else 0.0
                self._purse = Purse(self._options.budget, spent)
            if self._progress:
                telling = Progress(self.tally, self._total, self._stage)
                opened.push_async_callback(telling.close)
            opened.push_async_callback(self._finish)
            opened.enter_context(interruptible(self._halt, lambda: self.tally.in_flight))
            self._exit = opened.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            self._halt.throw(error)
        while self._flights:
            await asyncio.gather(*self._flights.values(), return_exceptions=True)
        await self._exit.aclose()

    async def _finish(self) -> None:
        if self._batches:
            await self._batches.close()
        self._threads.shutdown(wait=True)
        for service in self._services.values():
            await service.close()

    def advance(self, items: int = 1) -> None:
        """Say that so many of the `total` are done, for whoever looks at the progress."""
        self.tally.items += items

    async def __call__(self, responder: Responder, prompt: Prompt, sample: int = 0) -> Response:
        """Answer number `sample` of `responder` to `prompt`."""
        request = keys.request(responder, prompt, sample, self._identity(responder))
        if not (self._journal and responder.journaled):
            return await self._fetch(responder, prompt, request)
        flight = self._flights.get(request.key)
        if flight is None:
            if kept := self._journal.find(request):
                self.tally.found += 1
                return kept
            flight = asyncio.create_task(self._fetch(responder, prompt, request))
            self._flights[request.key] = flight
            flight.add_done_callback(lambda done: self._land(request.key, done))
        # A caller that gives up must not take a paid answer with it.
        response = await asyncio.shield(flight)
        if response.prompt_id != prompt.id:
            return attrs.evolve(response, prompt_id=prompt.id)
        return response

    def _land(self, key: str, flight: asyncio.Task[Response]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()

    async def _fetch(self, responder: Responder, prompt: Prompt, request: Request) -> Response:
        try:
            async with self._paid(responder, request) as paid:
                if not paid:
                    return self._over_budget(responder, prompt)
                return await self._ask_somehow(responder, prompt, request)
        except GivenUp as error:
            self.tally.unfinished += 1
            if self._journal and responder.journaled:
                await self._journal.give_up(request, str(error))
            response = failed(responder, prompt, error)
            self.tally.outcomes[response.outcome] += 1
            return response

    async def _ask_somehow(
        self, responder: Responder, prompt: Prompt, request: Request
    ) -> Response:
        # What an earlier run put in a batch is not paid for again, whatever this one says.
        if (
            self._batches
            and isinstance(responder, BatchService)
            and (self._options.batch or await self._batches.hold(responder, request))
        ):
            return await self._ask_in_batch(self._batches, responder, prompt, request)
        response, calls = await self._ask(responder, prompt, request)
        return await self._keep(responder, request, response, calls)

    @asynccontextmanager
    async def _paid(self, responder: Responder, request: Request) -> AsyncIterator[bool]:
        """Whether there is money for it, which is set aside until the block ends."""
        if self._purse is None:
            yield True
            return
        most = self._most(responder, request, self._purse.longest)
        if not await self._purse.reserve(most):
            yield False
            return
        try:
            yield True
        finally:
            self._purse.release(most)

    def _most(self, responder: Responder, request: Request, longest: int) -> float:
        """Dollars that an answer may cost. Raises `CptError` where no price is known."""
        usage = Usage(
            input_tokens=len(request.messages.encode()) // BYTES_PER_TOKEN,
            output_tokens=getattr(responder, "max_tokens", None) or longest,
        )
        most = self._price(responder, usage, batch=self._options.batch)
        if most is None:
            error = CptError(
                f"{responder.name}:{responder.author}: no price is known, so no budget can be "
                "kept. Write its price in a file and give that as --asking.prices, or ask without "
                "--asking.budget."
            )
            self._halt.throw(error)
            raise error
        return most

    def _over_budget(self, responder: Responder, prompt: Prompt) -> Response:
        assert self._purse
        self.tally.unfinished += 1
        self.tally.outcomes["over_budget"] += 1
        return Response(
            prompt_id=prompt.id,
            text="",
            author=responder.author,
            outcome="over_budget",
            detail=f"${self._purse.spent:.4f} of ${self._purse.budget:g} are spent",
        )

    async def _keep(
        self,
        responder: Responder,
        request: Request,
        response: Response,
        calls: int = 1,
        *,
        batch: bool = False,
    ) -> Response:
        cost = self._cost(responder, response, batch)
        if self._journal and responder.journaled:
            await self._journal.keep(request, response, cost, calls)
        self.tally.count(response, cost)
        if self._purse:
            self._purse.pay(cost or 0.0, response.usage.output_tokens)
        return response

    async def _keep_batched(
        self, responder: Responder, request: Request, response: Response
    ) -> None:
        await self._keep(responder, request, response, batch=True)

    async def _ask_in_batch(
        self, batches: Batches, service: BatchService, prompt: Prompt, request: Request
    ) -> Response:
        assert self._journal
        await self._journal.begin(request, self._stage)
        self._services[id(service)] = service
        try:
            return await batches.answer(service, request)
        except Rejected as error:
            return await self._keep(service, request, failed(service, prompt, error), batch=True)
        except (Overloaded, Unreachable) as error:
            raise GivenUp(scrub(str(error))) from None
        except Denied as error:
            self._halt.throw(CptError(f"{service.name}:{service.author}: {scrub(str(error))}"))
            raise self._halt.error or error from None

    async def _ask(
        self, responder: Responder, prompt: Prompt, request: Request
    ) -> tuple[Response, int]:
        async def begin() -> None:
            if self._journal and responder.journaled:
                await self._journal.begin(request, self._stage)

        if isinstance(responder, Service):
            endpoint = self._endpoint(responder)
            return await endpoint.ask(responder, prompt, request.sample, begin)
        assert isinstance(responder, Local)
        await begin()
        batcher = self._batchers.get(request.identity)
        if batcher is None:
            batcher = Batcher(responder, self._threads, self._halt)
            self._batchers[request.identity] = batcher
        return await batcher.answer(prompt, request.sample), 1

    def _cost(self, responder: Responder, response: Response, batch: bool) -> float | None:
        # No provider bills a request that it refused.
        if response.outcome == "failed":
            return 0.0
        return self._price(responder, response.usage, batch=batch)

    def _endpoint(self, service: Service) -> Endpoint:
        key = service.name, service.endpoint, service.author
        if key not in self._endpoints:
            self._endpoints[key] = Endpoint(service, self._halt, self.tally, self._options.patience)
        self._services[id(service)] = service
        return self._endpoints[key]

    def _identity(self, responder: Responder) -> str:
        if id(responder) not in self._identities:
            self._identities[id(responder)] = responder, keys.canonical(responder.identity)
        return self._identities[id(responder)][1]


def _price(options: Asking) -> Price:
    own = Path(resolve(options.prices)) if options.prices else None
    return Prices.load(own).cost
