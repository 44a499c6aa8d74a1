"""What cannot be a component is one line when its plugin is loaded, not a traceback later."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

import cpt
from cpt.plugins.components import check_component
from cpt.service import BatchService


def pairer(**body: Any) -> type[cpt.Pairer]:
    """A pairer that its author decorated, with this in its body."""

    async def pair(self: Any, prompt: cpt.Prompt, ask: cpt.Ask) -> list[cpt.Pair]:
        return []

    return attrs.frozen(type("Mine", (cpt.Pairer,), {"name": "mine", "pair": pair, **body}))


def option(name: str, default: Any) -> dict[str, Any]:
    return {"__annotations__": {name: Any}, name: default}


async def short(self: Any, prompt: Any) -> None: ...


async def long(self: Any, prompt: Any, ask: Any, seed: Any) -> None: ...


async def late(self: Any) -> None: ...


def lax(self: Any, *given: Any, **named: Any) -> None: ...


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"pair": short}, "write `async def pair(self, prompt, ask)`"),
        ({"pair": long}, "write `async def pair(self, prompt, ask)`"),
        ({"check": late}, "`check` must not be async: write `def check`"),
        ({"__init__": lax}, "has an `__init__` of its own"),
        (option("words", []), "write a tuple, or `attrs.field(factory=list)`"),
        (option("words", {}), "write a tuple, or `attrs.field(factory=dict)`"),
        (option("check", "x"), "the option `check` has the name of something else"),
        (option("role", "x"), "the option `role` has the name of something else"),
    ],
)
def test_what_would_fail_later_is_refused_at_once(body: dict[str, Any], why: str) -> None:
    with pytest.raises(TypeError, match=r"Mine\b") as refused:
        check_component(pairer(**body), cpt.Pairer, "cpt_pairers")
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"pair": lax},
        {"_helper": late, "helper": short},
        option("words", ()),
        option("words", attrs.field(factory=dict)),
        option("identity", "x"),
    ],
)
def test_what_works_is_not_refused(body: dict[str, Any]) -> None:
    check_component(pairer(**body), cpt.Pairer, "cpt_pairers")


def test_an_option_may_answer_what_a_responder_is_asked() -> None:
    @attrs.frozen
    class Mine(cpt.Local):
        name = "mine"
        temperature: float = 1.0

        def answer_all(self, requests: Any, more: Any = ()) -> list[cpt.Response]:
            return []

    check_component(Mine, cpt.Responder, "cpt_responders")


def test_results_of_a_batch_may_come_from_an_async_generator() -> None:
    async def batch_results(self: Any, remote: str, items: Any) -> Any:
        yield "key", None

    body = {"name": "mine", "batch_results": batch_results}
    mine = attrs.frozen(type("Mine", (BatchService,), body))
    check_component(mine, cpt.Responder, "cpt_responders")


def test_a_filter_is_no_async_generator() -> None:
    async def filter(self: Any, pairs: Any) -> Any:
        yield None

    mine = attrs.frozen(type("Mine", (cpt.Filter,), {"name": "mine", "filter": filter}))
    with pytest.raises(TypeError, match="`filter` must not be async"):
        check_component(mine, cpt.Filter, "cpt_filters")
