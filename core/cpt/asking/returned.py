"""What a responder returned, checked: a wrong plugin gets one line that says what to return."""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from inspect import isawaitable
from typing import Any

from cpt.errors import BadData, CptError
from cpt.roles import Responder
from cpt.types import Prompt, Response

ONE = "it must return a cpt.Response to the prompt that it is given"
ALL = "it must return a cpt.Response for each request, in the order given"


@contextmanager
def named(responder: Responder) -> Iterator[None]:
    """Put the responder's name before what it says of data that it made or read."""
    try:
        yield
    except BadData as error:
        raise BadData(f"responder {responder.name}: {error.message}") from error


async def one(responder: Responder, prompt: Prompt, returned: Awaitable[Response]) -> Response:
    """What `answer` returned, awaited. Raises `CptError` if it is not an answer to the prompt."""
    if not isawaitable(returned):
        raise CptError(
            f"responder {responder.name}: `answer` returned {_shown(returned)} without being "
            "awaited; write it as `async def answer`."
        )
    with named(responder):
        return response(responder, "answer", prompt, await returned, ONE)


def all_of(
    responder: Responder, requests: Sequence[tuple[Prompt, int]], returned: Any
) -> list[Response]:
    """What `answer_all` returned. Raises `CptError` if those are not answers to the requests."""
    if isinstance(returned, str) or not isinstance(returned, Sequence):
        raise _wrong(responder, "answer_all", _shown(returned), ALL)
    if len(returned) != len(requests):
        counts = f"{len(returned)} responses to {len(requests)} requests"
        raise _wrong(responder, "answer_all", counts, ALL)
    return [
        response(responder, "answer_all", prompt, answer, ALL)
        for (prompt, _), answer in zip(requests, returned, strict=True)
    ]


def response(
    responder: Responder, method: str, prompt: Prompt, returned: Any, expected: str
) -> Response:
    """One response. Raises `CptError` if it is something else, or answers another prompt."""
    if not isinstance(returned, Response):
        raise _wrong(responder, method, f"{_shown(returned)} for prompt {prompt.id!r}", expected)
    if returned.prompt_id != prompt.id:
        other = f"a response with prompt_id={returned.prompt_id!r} to prompt {prompt.id!r}"
        raise _wrong(responder, method, other, "set prompt_id=prompt.id")
    return returned


def _wrong(responder: Responder, method: str, returned: str, expected: str) -> CptError:
    return CptError(f"responder {responder.name}: `{method}` returned {returned}; {expected}.")


def _shown(value: Any) -> str:
    if value is None:
        return "None"
    if isawaitable(value):
        if close := getattr(value, "close", None):
            close()  # Else Python warns that it was never awaited.
        return f"a {type(value).__name__} (check its `async` and `await`)"
    text = " ".join(repr(value).split())
    return f"a {type(value).__name__} ({text[:60]}{'…' if len(text) > 60 else ''})"
