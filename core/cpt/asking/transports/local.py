"""Local models: waiting requests are answered together, sorted by length, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor

import attrs

from cpt.asking.stats import Stats
from cpt.asking.stop import Stop
from cpt.roles import Local
from cpt.roles.returns import checked_responses, naming
from cpt.types import Prompt, Response


@attrs.frozen(eq=False)
class _Waiting:
    prompt: Prompt
    sample: int
    answer: asyncio.Future[Response]

    @property
    def length(self) -> int:
        return sum(len(turn.content) for turn in self.prompt.messages)


class LocalQueue:
    """Collects the requests to one local model while it is busy with earlier ones."""

    def __init__(self, responder: Local, threads: Executor, stop: Stop, stats: Stats) -> None:
        self._responder = responder
        self._threads = threads
        self._stop = stop
        self._stats = stats
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def answer(self, prompt: Prompt, sample: int) -> Response:
        """The answer, once a batch with this prompt in it is done."""
        self._stop.raise_if_set()
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(prompt, sample, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        await self._gather()
        while self._waiting:
            batch = self._next()
            self._stats.in_flight += len(batch)
            try:
                self._stop.raise_if_set()
                await self._answer(batch)
            except Exception as error:
                for request in batch:
                    if not request.answer.done():
                        request.answer.set_exception(error)
            finally:
                self._stats.in_flight -= len(batch)
                self._stats.generating = 0
            # Those that got an answer may have more to ask: let them.
            await self._gather()

    async def _gather(self) -> None:
        """Wait until all that are ready to ask have asked."""
        before = -1
        while len(self._waiting) > before:
            before = len(self._waiting)
            await asyncio.sleep(0.001)

    def _next(self) -> list[_Waiting]:
        """The longest of what waits: a batch too large for the machine shows at once."""
        self._waiting.sort(key=lambda request: request.length)
        batch = self._waiting[-self._responder.at_once :]
        del self._waiting[-self._responder.at_once :]
        return batch

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        """Set each answer as soon as it is there. Raises `WrongReturn` if one is missing."""
        requests = [(request.prompt, request.sample) for request in batch]
        loop = asyncio.get_running_loop()
        ready: dict[int, Response] = {}

        def answered(index: int, answer: Response) -> None:
            (ready[index],) = checked_responses(self._responder, [requests[index]], [answer])
            loop.call_soon_threadsafe(self._set, batch[index], answer)

        def generated(tokens: int) -> None:
            loop.call_soon_threadsafe(self._count, tokens)

        with naming(self._responder):
            await loop.run_in_executor(
                self._threads, self._responder.answer_each, requests, answered, generated
            )
        checked_responses(self._responder, requests, list(ready.values()))

    def _set(self, request: _Waiting, answer: Response) -> None:
        self._count(-answer.usage.output_tokens)
        if not request.answer.done():
            request.answer.set_result(answer)

    def _count(self, tokens: int) -> None:
        self._stats.generating = max(0, self._stats.generating + tokens)
