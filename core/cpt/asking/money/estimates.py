"""What asking would cost, estimated without asking."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from sqlite3 import Connection
from typing import Any, TypeVar

import attrs

from cpt.asking.journal import keys, schema
from cpt.asking.journal.journal import Paid, find
from cpt.asking.journal.queries import mean_output_tokens
from cpt.asking.money.prices import Prices
from cpt.asking.money.tokens import input_tokens
from cpt.roles import Local, Responder
from cpt.roles.returns import checked_responses
from cpt.types import Prompt, Response, Usage

TYPICAL = 300
"""Tokens of an answer by an author of whom the journal has none."""


@attrs.frozen
class Estimate:
    """What asking one responder would take, as far as that is known."""

    requests: int = 0
    known: int = 0
    """Requests whose answers the journal has already: they are not asked."""
    input_tokens: int = 0
    output_tokens: int = 0
    """If answers are as long as those in the journal, or of a typical length."""
    most_output_tokens: int | None = 0
    """If every answer were as long as it may be; None where nothing limits it."""
    counted: bool = True
    """Whether the input was counted with the model's tokenizer, or estimated from its length."""
    dollars: float | None = 0.0
    """For `output_tokens`; None where the price is unknown."""
    most_dollars: float | None = 0.0
    """For `most_output_tokens`."""

    def __add__(self, other: Estimate) -> Estimate:
        return self.plus(other)

    def plus(self, other: Estimate, times: int = 1) -> Estimate:
        """With the other so many times beside it; -1 takes it away."""
        return Estimate(
            self.requests + times * other.requests,
            self.known + times * other.known,
            self.input_tokens + times * other.input_tokens,
            self.output_tokens + times * other.output_tokens,
            _sum(self.most_output_tokens, other.most_output_tokens, times),
            self.counted and other.counted,
            _sum(self.dollars, other.dollars, times),
            _sum(self.most_dollars, other.most_dollars, times),
        )


Number = TypeVar("Number", int, float)


def _sum(one: Number | None, other: Number | None, times: int) -> Number | None:
    """The sum, unknown if a part of it is."""
    return None if one is None or other is None else one + times * other


class DryRun:
    """An `Ask` that only counts what would be asked; a context manager.

    Answers that are recorded or in the journal come from there. All others are stand-ins of likely
    length, so that a question that quotes an answer is counted with it. No two are the same text,
    as equal answers are not compared.
    """

    def __init__(
        self,
        journal: Path | None,
        *,
        prices: Prices | None = None,
        batch: bool = False,
        again: Collection[str] = (),
    ) -> None:
        self.estimates: dict[str, Estimate] = {}
        """By the responder's name and author."""
        self.unmade: dict[str, str] = {}
        """Models that are not there yet, each with the one that it is counted as.

        A responder whose `model` is one of them is taken for one with the other model, but for an
        answer in the journal: that is another model's.
        """
        self._prices = prices or Prices.load()
        self._batch = batch
        self._again = again
        self._path = journal if journal and journal.exists() else None
        self._opened = ExitStack()
        self._journal: Connection | None = None
        self._asked: set[str] = set()
        self._typical: dict[str, int] = {}

    async def __call__(self, responder: Responder, prompt: Prompt, sample: int = 0) -> Response:
        """The kept answer, or a stand-in that was counted."""
        asked, responder = responder, self._counted_as(responder)
        if isinstance(responder, Local) and not responder.journaled:
            requests = [(prompt, sample)]
            return checked_responses(responder, requests, responder.answer_all(requests))[0]
        identity = keys.canonical(responder.identity)
        if asked is not responder:
            identity += f" of {asked.model}"
        request = keys.request(responder, prompt, sample, identity)
        if found := self._find(request):
            self._add(responder, Estimate(known=1))
            return found.response
        expected = self._expected(responder)
        if request.key not in self._asked:
            self._asked.add(request.key)
            self._add(responder, self._estimate(responder, prompt, expected))
        return Response(
            prompt_id=prompt.id,
            text=_stand_in(request.key, expected),
            author=responder.author,
            info={"stand_in": True},
        )

    def repeat(self, since: Mapping[str, Estimate], times: int) -> None:
        """Count so many times more what was added to `estimates` since they were as given."""
        for label, now in self.estimates.items():
            grown = now.plus(since.get(label, Estimate()), -1)
            self.estimates[label] = now.plus(grown, times)

    def __enter__(self) -> DryRun:
        if self._path:
            self._journal = self._opened.enter_context(schema.reading(self._path))
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._opened.__exit__(*error)

    def _counted_as(self, responder: Responder) -> Responder:
        """The responder itself, or one with a model that is there."""
        base = self.unmade.get(responder.model or "")
        return responder if base is None else responder.with_options(model=base)

    def _find(self, request: keys.Request) -> Paid | None:
        found = find(self._journal, request) if self._journal else None
        return None if found and found.response.outcome in self._again else found

    def _add(self, responder: Responder, more: Estimate) -> None:
        label = f"{responder.name}:{responder.author}"
        self.estimates[label] = self.estimates.get(label, Estimate()) + more

    def _estimate(self, responder: Responder, prompt: Prompt, expected: int) -> Estimate:
        tokens, counted = input_tokens(responder.author, [turn.content for turn in prompt.messages])
        most = responder.max_tokens

        def dollars(out: int | None) -> float | None:
            used = Usage(input_tokens=tokens, output_tokens=out or 0)
            return None if out is None else self._prices.cost(responder, used, batch=self._batch)

        return Estimate(1, 0, tokens, expected, most, counted, dollars(expected), dollars(most))

    def _expected(self, responder: Responder) -> int:
        """Tokens of an answer."""
        author = responder.author
        if author not in self._typical:
            mean = mean_output_tokens(self._path, author) if self._path else None
            most = responder.max_tokens or TYPICAL
            self._typical[author] = round(mean) if mean else min(TYPICAL, most)
        return self._typical[author]


def _stand_in(key: str, tokens: int) -> str:
    """A text of so many words, another one for each request."""
    return "word " * (tokens - 1) + f"{key[:4]} "
