"""Responders that do as a test tells them, and prompts to ask them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence

import attrs

from cpt import NOT_IDENTITY, Local, Message, Prompt, Response, Service, Usage

Act = Callable[[Prompt, int], Response | Exception | None]


def prompt(number: int, text: str = "") -> Prompt:
    words = text or f"What is {number} plus {number}?"
    return Prompt(id=f"p{number}", messages=(Message("user", words),))


def prompts(count: int) -> list[Prompt]:
    return [prompt(number) for number in range(count)]


@attrs.define
class Book:
    """What was asked."""

    calls: Counter[str] = attrs.field(factory=Counter)
    """By the text of the prompt."""
    batches: list[list[str]] = attrs.field(factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    release: asyncio.Event | None = None
    """What every answer waits for, if anything."""

    def answer(self, asked: Prompt, sample: int, author: str) -> Response:
        return Response(
            prompt_id=asked.id,
            text=f"Answer {sample} to {asked.messages[-1].content}",
            author=author,
            usage=Usage(input_tokens=10, output_tokens=5),
            info={"sample": sample},
        )


def nothing(_: Prompt, __: int) -> None:
    return None


@attrs.frozen
class Acting(Service):
    """Answers, or does what `act` returns or raises for the call of that number."""

    name = "scripted"
    model: str = "m"
    temperature: float = attrs.field(default=1.0, kw_only=True)
    max_tokens: int | None = attrs.field(default=None, kw_only=True)
    book: Book = attrs.field(factory=Book, kw_only=True, metadata=NOT_IDENTITY, eq=False)
    act: Act = attrs.field(default=nothing, kw_only=True, metadata=NOT_IDENTITY, eq=False)

    async def answer(self, prompt: Prompt, sample: int) -> Response:
        book, text = self.book, prompt.messages[-1].content
        book.calls[text] += 1
        book.in_flight += 1
        book.most_in_flight = max(book.most_in_flight, book.in_flight)
        try:
            await (book.release.wait() if book.release else asyncio.sleep(0))
            done = self.act(prompt, book.calls[text])
        finally:
            book.in_flight -= 1
        if isinstance(done, Exception):
            raise done
        return done or book.answer(prompt, sample, self.author)


@attrs.frozen
class Batched(Local):
    """Answers many at once, and remembers which came together."""

    name = "batched"
    model: str = "m"
    size: int = attrs.field(default=8, kw_only=True, metadata=NOT_IDENTITY)
    book: Book = attrs.field(factory=Book, kw_only=True, metadata=NOT_IDENTITY, eq=False)
    forget: int = attrs.field(default=0, kw_only=True, metadata=NOT_IDENTITY)

    @property
    def at_once(self) -> int:
        return self.size

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        self.book.batches.append([asked.messages[-1].content for asked, _ in requests])
        answers = [self.book.answer(asked, sample, self.author) for asked, sample in requests]
        return answers[self.forget :]
