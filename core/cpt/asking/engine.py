"""The response engine: whatever is asked is paid for once and kept."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol

import attrs

from cpt.asking import keys
from cpt.asking.batchable import BatchService
from cpt.asking.batches import Batches, Timing
from cpt.asking.halt import Halt
from cpt.asking.journal import Journal
from cpt.asking.keys import Request
from cpt.asking.ledger import pending
from cpt.asking.local import Batcher
from cpt.asking.options import Asking
from cpt.asking.prices import Prices
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
    whatever reason, is awaited and kept.
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
    ) -> None:
        self.tally = Tally()
        self._options = options or Asking()
        self._stage = stage
        self._price = price or _price(self._options)
        self._timing = timing
        self._path = journal
        self._journal: Journal | None = None
        self._batches: Batches | None = None
        self._halt = Halt()
        self._flights: dict[str, asyncio.Task[Response]] = {}
        self._endpoints: dict[tuple[str, str, str], Endpoint] = {}
        self._services: dict[int, Service] = {}
        self._batchers: dict[str, Batcher] = {}
        self._identities: dict[int, tuple[Responder, str]] = {}
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cpt-local")

    async def __aenter__(self) -> Asker:
        if self._path:
            self._journal = Journal(self._path)
            if self._options.batch or pending(self._path):
                self._batches = Batches(self._path, self._keep_batched, self._halt, self._timing)
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
        if self._batches:
            await self._batches.close()
        self._threads.shutdown(wait=True)
        for service in self._services.values():
            await service.close()
        if self._journal:
            self._journal.close()

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
            # What an earlier run put in a batch is not paid for again, whatever this one says.
            if (
                self._batches
                and isinstance(responder, BatchService)
                and (self._options.batch or await self._batches.hold(responder, request))
            ):
                return await self._ask_in_batch(self._batches, responder, prompt, request)
            response, calls = await self._ask(responder, prompt, request)
        except GivenUp as error:
            self.tally.unfinished += 1
            if self._journal and responder.journaled:
                await self._journal.give_up(request, str(error))
            response = failed(responder, prompt, error)
            self.tally.outcomes[response.outcome] += 1
            return response
        return await self._keep(responder, request, response, calls)

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
        self.tally.retries += calls - 1
        self.tally.count(response, cost)
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
