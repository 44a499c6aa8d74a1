"""Asking a service: one request through limits, retries and a breaker."""

from __future__ import annotations

import asyncio
import logging
import re

from cpt.asking.journal.journal import Entry
from cpt.asking.rate.retries import retried
from cpt.asking.rate.throttle import Throttle
from cpt.asking.stats import Stats
from cpt.asking.stop import Stop
from cpt.asking.transports.refusals import Refusals
from cpt.errors import (
    AskError,
    CptError,
    Denied,
    Filtered,
    Malformed,
    Overloaded,
    Rejected,
    Stopped,
    Unreachable,
)
from cpt.roles import Responder, Service
from cpt.roles.returns import call, checked_response
from cpt.service.http.ratelimits import Refill, listen
from cpt.types import Outcome, Prompt, Response, Usage

log = logging.getLogger("cpt")

FORM = re.compile(r"log.?prob|response.?format|json.?schema|structured.?output|output.?config")
"""How services call what they will not give."""

BEFORE_THE_FIRST = 8
"""The patience is divided by this for a service that never answered: it is likely not there."""
DEAD = 20
"""Failures in a row after which it is asked more and more rarely, like one that refuses."""
LONG_WAIT, LONGEST_WAIT = 60.0, 86400.0
"""Seconds that a service may ask us to wait before we warn, and before the run stops."""
TYPICAL_TOKENS = 500.0
"""Tokens of a request and its answer, until we have seen some."""


class GivenUp(Exception):
    """All attempts failed; another run may ask again."""

    def __init__(self, last: AskError, calls: int = 0) -> None:
        text = str(last)
        super().__init__(f"asked {calls} times, last: {text}" if calls else text)
        self.outcome = Outcome.MALFORMED if isinstance(last, Malformed) else Outcome.FAILED


class Endpoint:
    """One author at one address: what all responders that ask it share."""

    def __init__(
        self, service: Service, stop: Stop, stats: Stats, patience: float, most_rejected: int = 8
    ) -> None:
        self.name = f"{service.name}:{service.author}"
        self.throttle = Throttle(service.concurrency, stop)
        self._stop = stop
        self._stats = stats
        self._patience = patience
        self._refusals = Refusals(most_rejected)
        self.works = False
        """Whether it has answered a request, not only rejected it."""
        self.trusted = False
        """Whether it answered one in an earlier run."""
        self._answered = False
        self._failures = 0
        self._failing_since: float | None = None
        self._warned_until = float("-inf")
        """When the wait ends that was last warned of, in the loop's time."""
        self._refill = Refill()
        self._limits = Refill(
            _a_second(service.requests_per_minute), _a_second(service.tokens_per_minute)
        )
        self._tokens = TYPICAL_TOKENS
        self._set_ceiling()

    async def ask(
        self, service: Service, prompt: Prompt, sample: int, entry: Entry
    ) -> tuple[Response, int]:
        """The answer and the number of calls it took. Raises `GivenUp`, or what stopped the run."""
        calls = 0

        async def once() -> Response:
            nonlocal calls
            began = await self.throttle.enter(again=calls > 0)
            try:
                await entry.begin()
                self._stats.retries += calls > 0
                calls += 1
                return await self._call(service, prompt, sample, began)
            except (Overloaded, Unreachable) as error:
                entry.fail(str(error))
                raise
            finally:
                self.throttle.leave()

        try:
            return await retried(once, service.attempts, self._stop.sleep), calls
        except Rejected as error:
            return rejected(service, prompt, error), calls
        except (Overloaded, Unreachable) as error:
            raise GivenUp(error, calls) from None

    async def _call(self, service: Service, prompt: Prompt, sample: int, began: float) -> Response:
        self._stats.sent += 1
        self._stats.in_flight += 1
        listen(self._hear)
        try:
            async with asyncio.timeout(service.timeout):
                returned = await call(service, service.answer, prompt, sample)
                response = checked_response(service, prompt, returned)
        except TimeoutError:
            error = Unreachable(f"no answer within {service.timeout:g} s")
            self._fail(error, began)
            raise error from None
        except AskError as error:
            if isinstance(error, Denied) and _is_about_a_form(service, error):
                error = Rejected(error)
            self._fail(error, began, counts=not _asks_in_a_form(service))
            raise error from None
        finally:
            self._stats.in_flight -= 1
        self.works = True
        self._succeed(began)
        self._learn(response.usage)
        return response

    def _succeed(self, began: float) -> None:
        self.throttle.accepted(began)
        self._answered, self._failing_since, self._failures = True, None, 0

    def _learn(self, usage: Usage) -> None:
        used = usage.input_tokens + usage.output_tokens
        self._tokens += (used - self._tokens) / 20
        if self._limits.tokens or self._refill.tokens:
            self._set_ceiling()

    def _fail(self, error: AskError, began: float, counts: bool = True) -> None:
        self._stats.errors[type(error).__name__.lower()] += 1
        if isinstance(error, Rejected):
            self._succeed(began)
            if counts:
                self._count_refusal(error)
        elif isinstance(error, Denied):
            said = str(error).rstrip(".")
            self._stop.set(
                CptError(
                    f"{self.name}: {said}. Fix the key, the model's name or the address, then run "
                    "again: all answers are kept."
                )
            )
            self._stop.raise_if_set()
        elif isinstance(error, Overloaded):
            self.throttle.overloaded(began, error.retry_after)
            self._check_wait(error.retry_after or 0.0, error)
            self._lose_patience(error)
        else:
            self._failures += 1
            if self._failures >= DEAD:
                self.throttle.overloaded(began, None)
            self._lose_patience(error)

    def _count_refusal(self, error: Rejected) -> None:
        """Stop the run if all that was asked is rejected alike: then it is not the prompts."""
        if not self.works and (why := self._refusals.add(error)):
            self._stop.set(CptError(f"{self.name}: {why}."))
            self._stop.raise_if_set()

    def _check_wait(self, wait: float, error: AskError) -> None:
        """Warn of a long wait; stop the run if it is one of days."""
        if wait > LONGEST_WAIT:
            self._stop.set(
                Stopped(
                    f"{self.name}: wants no request for {wait / 3600:.0f} hours "
                    f"({error}). Run again then: all answers are kept."
                )
            )
        else:
            self._warn(wait, f"as it asked ({error})")

    def _warn(self, wait: float, why: str) -> None:
        """Say that the run waits, once for each long wait: it does not hang."""
        now = asyncio.get_running_loop().time()
        if wait > LONG_WAIT and now > self._warned_until:
            self._warned_until = now + wait
            log.warning("%s: waiting %.0f s, %s", self.name, wait, why)

    def _lose_patience(self, error: AskError) -> None:
        """Stop the run if nothing has succeeded for too long."""
        now = asyncio.get_running_loop().time()
        if self._failing_since is None:
            self._failing_since = now
        patience = self._patience / BEFORE_THE_FIRST
        if isinstance(error, Overloaded):
            # A service that says that it is busy is there, even if it never answered.
            patience = self._patience + (error.retry_after or 0.0)
        elif self._answered:
            patience = self._patience
        failing = now - self._failing_since
        if failing > patience:
            self._stop.set(
                Stopped(
                    f"{self.name}: no answer for {failing:.0f} s ({error}). "
                    "Check the service, then run again: all answers are kept."
                )
            )

    def _hear(self, refill: Refill) -> None:
        if refill != self._refill:
            self._refill = refill
            self._set_ceiling()
            if refill.requests:
                self._warn(1 / refill.requests, "as its headers allow no more")

    def _set_ceiling(self) -> None:
        limits = (self._limits, self._refill)
        rates = [limit.requests for limit in limits if limit.requests]
        rates += [limit.tokens / self._tokens for limit in limits if limit.tokens]
        self.throttle.pace.ceiling = min(rates, default=None)


def _asks_in_a_form(service: Service) -> bool:
    """Whether it is asked for more than text: whoever does so has another way if it refuses."""
    return bool(service.top_logprobs or service.json_schema)


def _is_about_a_form(service: Service, error: AskError) -> bool:
    """Whether a service that would give text denies only the form, as OpenAI does (403)."""
    return _asks_in_a_form(service) and bool(FORM.search(str(error).lower()))


def unanswered(responder: Responder, prompt: Prompt, outcome: Outcome, why: str) -> Response:
    """A response without an answer."""
    return Response(
        prompt_id=prompt.id, text="", author=responder.author, outcome=outcome, detail=why
    )


def rejected(responder: Responder, prompt: Prompt, error: Rejected) -> Response:
    """The response to a request that can never be answered."""
    outcome = Outcome.FILTERED if isinstance(error, Filtered) else Outcome.REJECTED
    return unanswered(responder, prompt, outcome, str(error))


def _a_second(a_minute: float | None) -> float | None:
    return a_minute / 60 if a_minute else None
