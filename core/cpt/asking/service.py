"""Asking a service: one request through limits, retries and a breaker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cpt.asking.halt import Halt
from cpt.asking.limits import Throttle
from cpt.asking.retries import retried
from cpt.asking.secrets import scrub
from cpt.asking.tally import Tally
from cpt.errors import AskError, CptError, Denied, Overloaded, Rejected, Stopped, Unreachable
from cpt.roles import Responder, Service
from cpt.types import Prompt, Response

BEFORE_THE_FIRST = 8
"""A service that never answered gets this part of the patience: it is likely not there."""


class GivenUp(Exception):
    """All attempts failed; another run may ask again."""


class Endpoint:
    """What all responders share that ask one author at one place."""

    def __init__(self, service: Service, halt: Halt, tally: Tally, patience: float) -> None:
        self.name = f"{service.name}:{service.author}"
        self.throttle = Throttle(service.concurrency, halt)
        self._halt = halt
        self._tally = tally
        self._patience = patience
        self._answered = False
        self._failing_since: float | None = None

    async def ask(
        self,
        service: Service,
        prompt: Prompt,
        sample: int,
        begin: Callable[[], Awaitable[None]],
    ) -> tuple[Response, int]:
        """The answer and the number of calls it took. Raises `GivenUp`, or what stopped the run.

        `begin` is awaited before the first call, when there is room for it.
        """
        calls = 0

        async def once() -> Response:
            nonlocal calls
            async with self.throttle.slot():
                if not calls:
                    await begin()
                calls += 1
                return await self._call(service, prompt, sample)

        try:
            return await retried(once, service.attempts, self._halt.sleep), calls
        except Rejected as error:
            return failed(service, prompt, error), calls
        except (Overloaded, Unreachable) as error:
            raise GivenUp(f"asked {calls} times, last: {scrub(str(error))}") from None

    async def _call(self, service: Service, prompt: Prompt, sample: int) -> Response:
        self._tally.sent += 1
        self._tally.in_flight += 1
        try:
            async with asyncio.timeout(service.timeout):
                response = await service.answer(prompt, sample)
        except TimeoutError:
            error = Unreachable(f"no answer within {service.timeout:g} s")
            self._fail(error)
            raise error from None
        except AskError as error:
            self._fail(error)
            raise
        finally:
            self._tally.in_flight -= 1
        self._answered, self._failing_since = True, None
        return response

    def _fail(self, error: AskError) -> None:
        self._tally.errors[type(error).__name__.lower()] += 1
        if isinstance(error, Denied):
            self._halt.throw(CptError(f"{self.name}: {scrub(str(error))}"))
            self._halt.check()
        if isinstance(error, Overloaded | Unreachable):
            self._break(error)

    def _break(self, error: AskError) -> None:
        """Stop the run if nothing has succeeded for too long."""
        now = asyncio.get_running_loop().time()
        if self._failing_since is None:
            self._failing_since = now
        patience = self._patience if self._answered else self._patience / BEFORE_THE_FIRST
        if now - self._failing_since > patience:
            self._halt.throw(
                Stopped(
                    f"{self.name}: no answer for {now - self._failing_since:.0f} s "
                    f"({scrub(str(error))}). See to the service, then run again: "
                    "all answers are kept."
                )
            )


def failed(responder: Responder, prompt: Prompt, error: Exception) -> Response:
    return Response(
        prompt_id=prompt.id,
        text="",
        author=responder.author,
        outcome="failed",
        detail=scrub(str(error)),
    )
