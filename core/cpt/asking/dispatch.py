"""The roads to an answer: a service, at once or in a batch, or a model in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from cpt.asking.journal.journal import Entry, Journal, Paid
from cpt.asking.journal.keys import Request
from cpt.asking.options import Asking
from cpt.asking.stats import Stats
from cpt.asking.stop import Stop
from cpt.asking.transports.batch_log import pending
from cpt.asking.transports.batches import Batches, Timing
from cpt.asking.transports.endpoint import Endpoint, GivenUp, unanswered
from cpt.asking.transports.local import Batcher
from cpt.errors import CptError, Denied, Overloaded, Rejected, Unreachable
from cpt.roles import Local, Responder, Service
from cpt.service.batch import BatchService
from cpt.service.credentials import scrub
from cpt.types import Prompt, Response


class Keep(Protocol):
    """Makes an answer durable, after so many calls."""

    async def __call__(
        self,
        responder: Responder,
        request: Request,
        response: Response,
        calls: int = 1,
        *,
        batch: bool = False,
    ) -> Paid: ...


class Dispatcher:
    """Asks whoever is to be asked, and keeps what they say."""

    def __init__(
        self,
        journal: Journal | None,
        options: Asking,
        stop: Stop,
        stats: Stats,
        keep: Keep,
        entry: Callable[[Responder, Request], Entry],
        timing: Timing | None,
    ) -> None:
        self._options = options
        self._stop = stop
        self._stats = stats
        self._keep = keep
        self._entry = entry
        self._endpoints: dict[tuple[str, str, str], Endpoint] = {}
        self._services: dict[int, tuple[Service, Endpoint]] = {}
        self._batchers: dict[str, Batcher] = {}
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cpt-local")
        self._journal = journal
        self._batches: Batches | None = None
        if journal and (options.batch or pending(journal.path)):
            self._batches = Batches(journal.path, self._keep_batched, stop, timing)

    async def answer(self, responder: Responder, prompt: Prompt, request: Request) -> Paid:
        """The answer, kept already. Raises `GivenUp`, or what stopped the run."""
        if isinstance(responder, Local):
            return await self._ask_local(responder, prompt, request)
        assert isinstance(responder, Service), "a responder is a Service or a Local"
        endpoint = self._endpoint(responder)
        if self._batches and isinstance(responder, BatchService):
            with self._explained(responder):
                # What an earlier run put in a batch is not paid for again, whatever this one says.
                if self._options.batch or await self._batches.hold(responder, request):
                    return await self._ask_in_batch(self._batches, responder, prompt, request)
        return await self._ask_service(endpoint, responder, prompt, request)

    async def close(self) -> None:
        """Let go of everything, in the event loop that asked."""
        if self._batches:
            await self._batches.close()
        self._threads.shutdown(wait=True)
        for service, _ in self._services.values():
            await service.close()

    async def _ask_local(self, local: Local, prompt: Prompt, request: Request) -> Paid:
        batcher = self._batchers.get(request.identity)
        if batcher is None:
            batcher = self._batchers[request.identity] = Batcher(local, self._threads, self._stop)
        response = await batcher.answer(prompt, request.sample)
        # Nobody is paid, so nothing is in doubt before the answer is there.
        await self._entry(local, request).begin()
        return await self._keep(local, request, response)

    def _endpoint(self, service: Service) -> Endpoint:
        if id(service) not in self._services:
            key = service.name, service.endpoint, service.author
            if key not in self._endpoints:
                patience = self._options.patience
                self._endpoints[key] = Endpoint(service, self._stop, self._stats, patience)
            self._services[id(service)] = service, self._endpoints[key]
        return self._services[id(service)][1]

    async def _ask_service(
        self, endpoint: Endpoint, service: Service, prompt: Prompt, request: Request
    ) -> Paid:
        entry = self._entry(service, request)
        response, calls = await endpoint.ask(service, prompt, request.sample, entry)
        return await self._keep(service, request, response, calls)

    async def _ask_in_batch(
        self, batches: Batches, service: BatchService, prompt: Prompt, request: Request
    ) -> Paid:
        await self._entry(service, request).begin()
        try:
            response = await batches.answer(service, request)
        except Rejected as error:
            response = unanswered(service, prompt, "failed", str(error))
            return await self._keep(service, request, response, batch=True)
        return (self._journal and self._journal.find(request)) or Paid(response)

    @contextmanager
    def _explained(self, service: Service) -> Iterator[None]:
        """The errors of a batch as those of a request."""
        try:
            yield
        except (Overloaded, Unreachable) as error:
            raise GivenUp(error) from None
        except Denied as error:
            self._stop.throw(CptError(f"{service.name}:{service.author}: {scrub(str(error))}"))
            raise self._stop.error or error from None

    async def _keep_batched(
        self, responder: Responder, request: Request, response: Response
    ) -> None:
        await self._keep(responder, request, response, batch=True)
