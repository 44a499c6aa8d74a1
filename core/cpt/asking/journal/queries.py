"""What a journal holds, what it cost, and why it does not hold something."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.asking.journal import keys, schema
from cpt.asking.journal.journal import DOUBTFUL
from cpt.asking.journal.keys import Request
from cpt.roles import Responder
from cpt.types import Outcome, Prompt

BILL = f"""SELECT stage, author, count(*), sum(input_tokens), sum(cached_tokens),
    sum(output_tokens), {schema.DOLLARS}, sum(cost IS NULL)
    FROM answers JOIN requests USING (key) GROUP BY stage, author ORDER BY stage, author"""
WITH_TEXT = ", ".join(f"'{outcome}'" for outcome in Outcome if outcome.has_text)
MEAN = f"""SELECT avg(output_tokens) FROM answers
    WHERE author = ? AND output_tokens > 0 AND outcome IN ({WITH_TEXT})"""
OUTCOMES = "SELECT author, outcome, count(*) FROM answers GROUP BY author, outcome"
COST = f"SELECT {schema.DOLLARS} FROM answers"
SUMS = """SELECT count(*), sum(cost IS NULL), sum(input_tokens), sum(cached_tokens),
    sum(output_tokens), sum(calls) FROM answers"""
GIVEN_UP = "SELECT count(*) FROM requests WHERE failure IS NOT NULL"
BATCHED = "SELECT key FROM batched JOIN batches ON name = batch WHERE state = 'open'"
HAS_BATCHES = "SELECT 1 FROM sqlite_master WHERE name = 'batched'"
ANSWER = "SELECT outcome, answered_at, author FROM answers WHERE key = ?"
REQUEST = "SELECT asked_at, failure FROM requests WHERE key = ?"
OTHERS = """SELECT identity, sample, messages FROM requests JOIN responders
    ON responders.id = requests.responder WHERE prompt_id = ?"""


@attrs.frozen
class Status:
    """What a journal holds."""

    answers: int
    by_author: Mapping[str, Mapping[str, int]]
    """Answers by who gave them and how they ended."""
    given_up: int
    """Requests that failed too often; the next run asks them again."""
    in_batches: int
    """Requests that a provider's batch endpoint may still answer."""
    doubtful: tuple[str, ...]
    """Prompts whose requests were in flight when a run died: perhaps paid for, without answer."""
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    calls: int
    cost: float | None
    """US dollars for the answers whose price is known; None if that is none of them."""
    unpriced: int


def status(journal: Path) -> Status:
    """Count what is there. Raises `CptError` if it is no journal, or damaged anywhere."""
    with schema.reading(journal, whole=True) as connection:
        by_author: dict[str, dict[str, int]] = {}
        for author, outcome, count in connection.execute(OUTCOMES):
            by_author.setdefault(author, {})[outcome] = count
        sums = connection.execute(SUMS).fetchone()
        answers, unpriced, given, cached, made, calls = (value or 0 for value in sums)
        batched = _batched(connection)
        waiting = connection.execute(DOUBTFUL).fetchall()
        return Status(
            answers=answers,
            by_author=by_author,
            given_up=connection.execute(GIVEN_UP).fetchone()[0],
            in_batches=sum(key in batched for key, _, _ in waiting),
            doubtful=tuple(prompt for key, prompt, _ in waiting if key not in batched),
            input_tokens=given,
            cached_tokens=cached,
            output_tokens=made,
            calls=calls,
            cost=connection.execute(COST).fetchone()[0],
            unpriced=unpriced,
        )


def _batched(connection: sqlite3.Connection) -> set[str]:
    if not connection.execute(HAS_BATCHES).fetchone():
        return set()
    return {key for (key,) in connection.execute(BATCHED)}


def why(journal: Path, responder: Responder, prompt: Prompt, sample: int = 0) -> str:
    """Why a request is answered from the journal, or is not, in one or more lines."""
    request = keys.request(responder, prompt, sample)
    with schema.reading(journal) as connection:
        if answer := connection.execute(ANSWER, (request.key,)).fetchone():
            outcome, when, author = answer
            return f"It is there: {outcome} by {author}, {_local_time(when)}."
        if asked := connection.execute(REQUEST, (request.key,)).fetchone():
            when, failure = asked
            end = f"given up ({failure})" if failure else "in flight when the run ended"
            return f"It was asked {_local_time(when)} and {end}: the next run asks it again."
        return _nearest(connection, request)


def _nearest(connection: sqlite3.Connection, request: Request) -> str:
    """What differs from the request for the same prompt that is most like it."""
    others = [
        list(_differences(request, identity, sample, messages))
        for identity, sample, messages in connection.execute(OTHERS, (request.prompt_id,))
    ]
    if not others:
        return f"The journal has no request for prompt {request.prompt_id!r}."
    lines = "\n".join(f"  {line}" for line in min(others, key=len))
    return f"It was asked otherwise; the most similar request differs in\n{lines}"


def _differences(request: Request, identity: str, sample: int, messages: str) -> Iterator[str]:
    if sample != request.sample:
        yield f"the sample number: {sample} there, {request.sample} now"
    then, today = json.loads(identity), json.loads(request.identity)
    for name in dict.fromkeys([*then, *today]):
        if then.get(name) != today.get(name):
            yield f"{name}: {then.get(name)!r} there, {today.get(name)!r} now"
    if messages != request.messages:
        pairs = enumerate(zip(messages, request.messages, strict=False))
        place = next((n for n, (there, now) in pairs if there != now), len(messages))
        yield (
            f"the messages: ...{_around(messages, place)}... there, "
            f"...{_around(request.messages, place)}... now"
        )


def _around(text: str, place: int) -> str:
    return text[max(0, place - 20) : place + 40]


def _local_time(when: Any) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))


@attrs.frozen
class Charge:
    """One line of a bill: what a stage asked one author."""

    stage: str
    author: str
    answers: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    dollars: float | None
    """For the answers whose price is known; None if that is none of them."""
    unpriced: int
    """Answers whose price is unknown: the bill is that much short."""


def bill(journal: Path) -> list[Charge]:
    """Every stage and author, in alphabetical order. Raises `CptError` if it is no journal."""
    with schema.reading(journal) as connection:
        return [Charge(*line) for line in connection.execute(BILL)]


def mean_output_tokens(journal: Path, author: str) -> float | None:
    """How long an author's answers are, None where there is none yet."""
    with schema.reading(journal) as connection:
        mean: float | None = connection.execute(MEAN, (author,)).fetchone()[0]
        return mean
