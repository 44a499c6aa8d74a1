"""The ways to an answer: a service, at once or in a batch, or a model in this process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache

from cpt.asking.journal.journal import Paid
from cpt.asking.journal.keys import Request
from cpt.asking.keeper import Doubted, Keeper
from cpt.asking.options import Asking
from cpt.asking.stop import Stop
from cpt.asking.transports.batch_log import pending
from cpt.asking.transports.batch_timing import Timing
from cpt.asking.transports.batches import ProviderBatches
from cpt.asking.transports.endpoint import Endpoint, GivenUp, rejected
from cpt.asking.transports.local import LocalQueue
from cpt.errors import CptError, Denied, Overloaded, Rejected, Unreachable
from cpt.roles import Local, Responder, Service
from cpt.service.batch import BatchService
from cpt.types import Outcome, Prompt, Response


@cache
def frozen_by_others() -> bool:
    """Whether something was frozen before anything here was: whoever did it lets it go."""
    return gc.get_freeze_count() > 0


class Dispatcher:
    """Sends each request the way that its responder takes, and keeps the answer."""

    def __init__(
        self, keeper: Keeper, options: Asking, stop: Stop, timing: Timing | None = None
    ) -> None:
        self._keeper = keeper
        self._options = options
        self._stop = stop
        self._endpoints: dict[tuple[str, str, str], Endpoint] = {}
        self._services: dict[int, tuple[Service, Endpoint]] = {}
        self._doubted: dict[Endpoint, list[Doubted]] = {}
        """Rejections by endpoints that have answered nothing yet."""
        self._warm: set[Endpoint] = set()
        self._local_queues: dict[str, LocalQueue] = {}
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="cpt-local")
        self._batches: ProviderBatches | None = None
        journal = keeper.journal
        if journal and (options.batch or pending(journal.path)):
            self._batches = ProviderBatches(journal.path, keeper, stop, timing, options)

    async def answer(self, responder: Responder, prompt: Prompt, request: Request) -> Paid:
        """The answer, kept already. Raises `GivenUp`, or what stopped the run."""
        if isinstance(responder, Local):
            return await self._ask_local(responder, prompt, request)
        if not isinstance(responder, Service):
            raise CptError(
                f"the responder {responder.name!r}: {type(responder).__name__} is neither a "
                "cpt.Service nor a cpt.Local; subclass one of them."
            )
        endpoint = self._endpoint(responder)
        if self._batches and isinstance(responder, BatchService):
            with self._explained(responder):
                # What an earlier run put in a batch is not paid for again, whatever this one says.
                if self._options.batch or await self._batches.is_in_batch(responder, request):
                    return await self._ask_in_batch(self._batches, responder, prompt, request)
        return await self._ask_service(endpoint, responder, prompt, request)

    def trust(self, responder: Responder) -> None:
        """Note that a responder answered in an earlier run: it has no need to prove itself."""
        if isinstance(responder, Service):
            self._endpoint(responder).trusted = True

    async def close(self) -> None:
        """Let go of everything, in the event loop that asked."""
        for endpoint in [
            found for found in self._doubted if found.trusted and not self._stop.error
        ]:
            await self._settle(endpoint)
        if self._batches:
            await self._batches.close()
        self._threads.shutdown(wait=True)
        for service, _ in self._services.values():
            await service.close()
        if not frozen_by_others():
            gc.unfreeze()

    async def _ask_local(self, local: Local, prompt: Prompt, request: Request) -> Paid:
        queue = self._local_queues.get(request.identity)
        if queue is None:
            queue = self._local_queues[request.identity] = LocalQueue(
                local, self._threads, self._stop, self._keeper.stats
            )
        response = await queue.answer(prompt, request.sample)
        # Nothing is paid for, so nothing is in doubt before the answer is there.
        await self._keeper.entry(local, request).begin()
        return await self._keeper.keep(local, request, response)

    def _endpoint(self, service: Service) -> Endpoint:
        if id(service) not in self._services:
            key = service.name, service.endpoint, service.author
            if key not in self._endpoints:
                options, stats = self._options, self._keeper.stats
                limits = options.patience, options.stop_after_rejected
                self._endpoints[key] = Endpoint(service, self._stop, stats, *limits)
            self._services[id(service)] = service, self._endpoints[key]
        return self._services[id(service)][1]

    async def _ask_service(
        self, endpoint: Endpoint, service: Service, prompt: Prompt, request: Request
    ) -> Paid:
        entry = self._keeper.entry(service, request)
        response, calls = await endpoint.ask(service, prompt, request.sample, entry)
        if endpoint not in self._warm:
            # All its modules are loaded now: the garbage collector need not search them.
            self._warm.add(endpoint)
            if not frozen_by_others():
                gc.freeze()
        return await self._conclude(endpoint, service, request, response, calls)

    async def _conclude(
        self,
        endpoint: Endpoint,
        service: Service,
        request: Request,
        response: Response,
        calls: int = 1,
    ) -> Paid:
        """Keep a response; a rejection only once the service has answered something."""
        if response.outcome is Outcome.REJECTED and not endpoint.works:
            doubted = self._keeper.doubt(service, request, response, calls)
            self._doubted.setdefault(endpoint, []).append(doubted)
            return doubted.paid
        await self._settle(endpoint)
        return await self._keeper.keep(service, request, response, calls)

    async def _settle(self, endpoint: Endpoint) -> None:
        """Keep the rejections of an endpoint that works."""
        for doubted in self._doubted.pop(endpoint, ()):
            await self._keeper.settle(doubted)

    async def _ask_in_batch(
        self, batches: ProviderBatches, service: BatchService, prompt: Prompt, request: Request
    ) -> Paid:
        endpoint = self._endpoint(service)
        await self._keeper.entry(service, request).begin()
        try:
            paid = await batches.answer(service, request)
        except Rejected as error:
            response = rejected(service, prompt, error)
            return await self._conclude(endpoint, service, request, response)
        endpoint.works = True
        await self._settle(endpoint)
        return paid

    @contextmanager
    def _explained(self, service: Service) -> Iterator[None]:
        """The errors of a batch as those of a request."""
        try:
            yield
        except (Overloaded, Unreachable) as error:
            raise GivenUp(error) from None
        except Denied as error:
            self._stop.set(CptError(f"{service.name}:{service.author}: {error}"))
            raise self._stop.error or error from None
