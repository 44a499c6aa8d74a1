"""What components return, checked: an error says which component, what, and what it must be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from inspect import isasyncgen, iscoroutine
from typing import Any

import attrs

from cpt.errors import NoPair, WrongReturn
from cpt.secrets import one_line
from cpt.types import Drop, Pair, Prompt, Response, Score, Verdict

SHOWN = 60
"""Characters of a wrong value that an error shows."""
DECISIONS = "`filter` must yield, for each pair in order, the pair or a Drop"
END = object()


async def call(component: Any, method: Callable[..., Any], *arguments: Any) -> Any:
    """What an async method of a component returns. Raises `WrongReturn` if it is not async.

    A `WrongReturn` from within (a `Score` outside its interval) gets the component's name.
    """
    with naming(component):
        returned = method(*arguments)
        if isinstance(returned, Awaitable):
            return await returned
    name = method.__name__
    if isasyncgen(returned):
        raise _wrong(component, returned, f"`{name}` must return a list: replace `yield`")
    raise _wrong(component, returned, f"`{name}` must be async: write `async def {name}`")


@contextmanager
def naming(component: Any) -> Iterator[None]:
    """Give a `WrongReturn` from within the component's name."""
    who = _named(component)
    try:
        yield
    except WrongReturn as error:
        if error.message.startswith(who):
            raise
        raise WrongReturn(f"{who}: {error.message}") from error


def checked_response(
    responder: Any, prompt: Prompt, returned: Any, must: str = "it must return a Response to it"
) -> Response:
    """What a responder returned for a prompt. Raises `WrongReturn`."""
    where = f" for prompt {prompt.id!r}"
    if not isinstance(returned, Response):
        raise _wrong(responder, returned, must, where)
    if returned.prompt_id != prompt.id:
        other = f"its prompt_id is {returned.prompt_id!r}: set prompt_id=prompt.id"
        raise _wrong(responder, returned, other, where)
    return returned


def checked_responses(
    responder: Any, requests: Sequence[tuple[Prompt, int]], returned: Any
) -> list[Response]:
    """What a responder returned for several requests. Raises `WrongReturn`."""
    must = "`answer_all` must return a Response for each request, in the order given"
    if not isinstance(returned, Sequence) or isinstance(returned, str | bytes):
        raise _wrong(responder, returned, must)
    if len(returned) != len(requests):
        counts = f"{len(returned)} responses to {len(requests)} requests"
        raise WrongReturn(f"{_named(responder)} returned {counts}; {must}.")
    return [
        checked_response(responder, prompt, response, must)
        for (prompt, _), response in zip(requests, returned, strict=True)
    ]


def checked_pairs(pairer: Any, prompt: Prompt, returned: Any) -> Sequence[Pair | NoPair]:
    """What a pairer returned for a prompt. Raises `WrongReturn`."""
    must = "it must return a list of Pair (or NoPair, in place of a pair that cannot be made)"
    where = f" for prompt {prompt.id!r}"
    if not isinstance(returned, Sequence) or isinstance(returned, str | bytes):
        raise _wrong(pairer, returned, must, where)
    for pair in returned:
        if not isinstance(pair, Pair | NoPair):
            raise _wrong(pairer, pair, must, f" in a list{where}")
        if isinstance(pair, Pair) and pair.prompt.id != prompt.id:
            raise _wrong(pairer, pair, f"this one is of prompt {pair.prompt.id!r}", where)
    return returned


@attrs.define
class Decisions:
    """What a filter yields for the pairs of a set, checked one by one."""

    filter: Any
    yielded: Iterator[Any]
    count: int = 0

    @classmethod
    def of(cls, filter: Any, pairs: Iterable[Pair]) -> Decisions:
        """Begin. Raises `WrongReturn` if nothing comes that can be gone through."""
        returned = filter.filter(pairs)
        if not isinstance(returned, Iterable) or isinstance(returned, str | bytes | Mapping):
            raise _wrong(filter, returned, DECISIONS)
        return cls(filter, iter(returned))

    def next(self, pair: Pair) -> Pair | Drop:
        """The pair, or why it goes. Raises `WrongReturn`."""
        decision = next(self.yielded, END)
        if decision is END:
            counts = f"{self.count} decisions and no more, at pair {pair.id!r}"
            raise WrongReturn(f"{_named(self.filter)} returned {counts}; {DECISIONS}.")
        self.count += 1
        return _checked_decision(self.filter, pair, decision)

    def end(self) -> None:
        """Raises `WrongReturn` if there is more."""
        if (extra := next(self.yielded, END)) is not END:
            raise _wrong(self.filter, extra, DECISIONS, " after the last pair")


def _checked_decision(filter: Any, pair: Pair, decision: Any) -> Pair | Drop:
    where = f" for pair {pair.id!r}"
    if not isinstance(decision, Pair | Drop):
        raise _wrong(filter, decision, DECISIONS, where)
    if isinstance(decision, Drop) and not _is_named(decision.reason):
        raise _wrong(filter, decision.reason, "the reason of a Drop has no blanks", where)
    if isinstance(decision, Pair) and decision.prompt.id != pair.prompt.id:
        other = f"this one is of prompt {decision.prompt.id!r}"
        raise _wrong(filter, decision, other, where)
    if isinstance(decision, Pair) and decision.id != pair.id:
        raise _wrong(filter, decision, f"this one is {decision.id!r}: keep the order", where)
    return decision


def _is_named(reason: Any) -> bool:
    return isinstance(reason, str) and reason.split() == [reason]


def checked_scores(evaluator: Any, returned: Any) -> Mapping[str, Score]:
    """What an evaluator returned. Raises `WrongReturn`."""
    must = "it must return a dict of Scores by name"
    if not isinstance(returned, Mapping):
        raise _wrong(evaluator, returned, must)
    for name, score in returned.items():
        if not isinstance(name, str) or name.split() != [name]:
            raise _wrong(evaluator, name, "a name has no blanks", " as the name of a score")
        if not isinstance(score, Score):
            raise _wrong(evaluator, score, must, f" as the score {name!r}")
    return returned


def checked_judge(judge: Callable[..., Any]) -> Callable[..., Any]:
    """The method `judge` of a judge, which raises `WrongReturn` instead of returning nonsense."""
    if getattr(judge, "is_checked", False):
        return judge

    @wraps(judge)
    async def checked(self: Any, prompt: Any, responses: Any, ask: Any) -> Verdict:
        answers = [_shown_to(self, response) for response in responses]
        returned = await call(self, judge.__get__(self), prompt, answers, ask)
        if not isinstance(returned, Verdict):
            raise _wrong(self, returned, "it must return a Verdict", f" for prompt {prompt.id!r}")
        if len(returned.scores) != len(responses):
            raise WrongReturn(
                f"{_named(self)} returned {len(returned.scores)} scores for {len(responses)} "
                f"responses of prompt {prompt.id!r}; it must return one for each."
            )
        return returned

    checked.is_checked = True  # type: ignore[attr-defined]
    return checked


def _shown_to(judge: Any, response: Any) -> Any:
    """What a judge gets to see of a response: the answer alone, unless it judges thoughts."""
    whole = judge.judges_thoughts or not isinstance(response, Response)
    return response if whole else response.without_thought


def _named(component: Any) -> str:
    return f"the {component.role} {component.name!r}"


def _wrong(component: Any, value: Any, must: str, where: str = "") -> WrongReturn:
    return WrongReturn(f"{_named(component)} returned {_shown(value)}{where}; {must}.")


def _shown(value: Any) -> str:
    if iscoroutine(value):
        value.close()  # or Python would warn that nobody awaited it
        return "a coroutine that was not awaited"
    if isasyncgen(value):
        return "an async generator"
    if value is None or isinstance(value, str | int | float):
        return one_line(repr(value), SHOWN)
    kind = type(value).__name__
    return f"an {kind}" if kind[0] in "aeiouAEIOU" else f"a {kind}"
