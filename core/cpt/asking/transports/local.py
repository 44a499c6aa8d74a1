"""Local models: waiting requests are answered together, sorted by length, in a thread."""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

import attrs

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


class Batcher:
    """Collects the requests to one local model while it is busy with earlier ones."""

    def __init__(self, responder: Local, threads: Executor, stop: Stop) -> None:
        self._responder = responder
        self._threads = threads
        self._stop = stop
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def answer(self, prompt: Prompt, sample: int) -> Response:
        """The answer, once a batch with this prompt in it is done."""
        self._stop.check()
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(prompt, sample, answer))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        await self._gather()
        while self._waiting:
            batch = self._next()
            try:
                self._stop.check()
                answers = await self._answer(batch)
            except Exception as error:
                for request in batch:
                    if not request.answer.done():
                        request.answer.set_exception(error)
                continue
            for request, answer in zip(batch, answers, strict=True):
                if not request.answer.done():
                    request.answer.set_result(answer)
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

    async def _answer(self, batch: list[_Waiting]) -> list[Response]:
        requests = [(request.prompt, request.sample) for request in batch]
        loop = asyncio.get_running_loop()
        with naming(self._responder):
            answers = await loop.run_in_executor(
                self._threads, self._responder.answer_all, requests
            )
        return checked_responses(self._responder, requests, answers)
