"""What a wrong responder is told: its name, what it returned, what it must return."""

from __future__ import annotations

import asyncio
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from cpt import CptError, Local, Outcome, Prompt, Responder, Response, Service
from cpt.asking import Asker
from cpt.asking.journal.queries import status
from cpt.asking.money.estimates import DryRun

from .asked import Acting, prompt, prompts

ONE = "it must return a Response to it."
ALL = "`answer_all` must return a Response for each request, in the order given."


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """A coroutine that is never awaited is our message's business, not Python's."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def response(asked: Prompt, **changes: Any) -> Response:
    return Response(**{"prompt_id": asked.id, "text": "yes", "author": "w", **changes})


@attrs.frozen
class Wrong(Service):
    """Returns something else."""

    name = "wrong"
    returns: Callable[[Prompt], Any]

    async def answer(self, prompt: Prompt, sample: int) -> Any:
        return self.returns(prompt)


@attrs.frozen
class Sync(Wrong):
    """Forgot `async`."""

    def answer(self, prompt: Prompt, sample: int) -> Any:
        return self.returns(prompt)


@attrs.frozen
class AllWrong(Local):
    """Returns something else for all."""

    name = "all_wrong"
    returns: Callable[[list[Prompt]], Any]

    def answer_all(self, requests: Any) -> Any:
        return self.returns([asked for asked, _ in requests])


class Neither(Responder):
    """Neither a service nor local."""

    name = "neither"


async def later(asked: Prompt) -> Response:
    return response(asked)


async def ask(responder: Responder, count: int = 1, journal: Path | None = None) -> list[Response]:
    async with Asker(journal, progress=False) as asker:
        return await asyncio.gather(*(asker(responder, asked) for asked in prompts(count)))


CASES = {
    "none": (Wrong(lambda _: None), f"returned None for prompt 'p0'; {ONE}"),
    "text": (Wrong(lambda _: "yes"), f"returned 'yes' for prompt 'p0'; {ONE}"),
    "no await": (
        Wrong(later),
        f"returned a coroutine that was not awaited for prompt 'p0'; {ONE}",
    ),
    "no async": (
        Sync(lambda _: "yes"),
        "returned 'yes'; `answer` must be async: write `async def answer`.",
    ),
    "other prompt": (
        Wrong(lambda asked: response(asked, prompt_id="q")),
        "returned a Response for prompt 'p0'; its prompt_id is 'q': set prompt_id=prompt.id.",
    ),
    "unknown word": (
        Wrong(lambda asked: response(asked, outcome="answred")),
        "'answred' is not an outcome of a response; did you mean 'answered'?",
    ),
    "all none": (AllWrong(lambda _: None), f"returned None; {ALL}"),
    "all text": (AllWrong(lambda _: "yes"), f"returned 'yes'; {ALL}"),
    "all fewer": (
        AllWrong(lambda asked: [response(one) for one in asked[1:]]),
        f"returned 1 responses to 2 requests; {ALL}",
    ),
    "one of all": (
        AllWrong(lambda asked: [None for _ in asked]),
        f"returned None for prompt 'p0'; {ALL}",
    ),
    "all async": (
        AllWrong(lambda asked: later(asked[0])),
        f"returned a coroutine that was not awaited; {ALL}",
    ),
    "all unknown word": (
        AllWrong(lambda asked: [response(one, outcome="xyz") for one in asked]),
        "'xyz' is not an outcome of a response; use one of answered, cut_off, ",
    ),
    "neither": (Neither(), "Neither is neither a cpt.Service nor a cpt.Local; subclass one of"),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_wrong_responder_gets_one_line(case: str, tmp_path: Path) -> None:
    responder, said = CASES[case]
    count = 2 if isinstance(responder, AllWrong) else 1
    with pytest.raises(CptError) as caught:
        await ask(responder, count, tmp_path / "j.sqlite")
    message = caught.value.message
    assert message.startswith(f"the responder {responder.name!r}") and "\n" not in message
    assert said in message


async def test_a_dry_run_checks_what_it_is_given_too() -> None:
    @attrs.frozen
    class OnDisk(AllWrong):
        journaled = False

    with DryRun(None) as dry, pytest.raises(CptError, match="the responder 'all_wrong' returned"):
        await dry(OnDisk(lambda _: None), prompt(0))


async def test_what_is_not_final_is_not_kept(tmp_path: Path) -> None:
    """A responder that says itself that it failed is asked again by the next run."""
    said = iter(["failed", "answered"])

    def act(asked: Prompt, _: int) -> Response:
        return response(asked, outcome=next(said), detail="busy")

    responder, journal = Acting(act=act), tmp_path / "j.sqlite"
    assert [one.outcome for one in await ask(responder, 1, journal)] == [Outcome.FAILED]
    found = status(journal)
    assert (found.answers, found.given_up, found.doubtful) == (0, 1, ())
    assert [one.outcome for one in await ask(responder, 1, journal)] == [Outcome.ANSWERED]
    assert status(journal).answers == 1


def test_which_outcomes_have_a_text_and_which_are_asked_again() -> None:
    assert [one for one in Outcome if one.has_text] == ["answered", "cut_off"]
    asked_again = [one for one in Outcome if not one.is_final]
    assert asked_again == ["failed", "malformed", "over_budget"]


def test_a_plain_word_becomes_an_outcome() -> None:
    assert response(prompt(0), outcome="cut_off").outcome is Outcome.CUT_OFF


def test_other_options_or_one_line() -> None:
    """What an evaluator changes of a model, whatever responder it is."""
    other = Acting().with_options(model="n", temperature=0.0)
    assert (other.model, other.temperature, other.author) == ("n", 0.0, "n")
    said = re.escape(
        "the responder 'all_wrong' has no option 'model' (it has returns); choose one that"
    )
    with pytest.raises(CptError, match=said):
        AllWrong(lambda _: None).with_options(model="n")
    bare = AllWrong(lambda _: None)
    assert (bare.model, bare.temperature, bare.max_tokens) == (None, None, None)
    assert bare.author == "all_wrong"
