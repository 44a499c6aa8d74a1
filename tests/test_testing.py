"""The kit catches what it promises to catch."""

from __future__ import annotations

import ast
import asyncio
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import attrs
import pytest

import cpt
from cpt import testing
from cpt.testing import (
    ComponentContract,
    FakeAsk,
    LossContract,
    MonotoneLossContract,
    ResponderContract,
    Scripted,
    fake_batch,
    fake_pairs,
    fake_prompts,
)

from .promises import holds

pytest_plugins = ["pytester"]


def broken(contract: type[ComponentContract[Any]], component: cpt.Component) -> set[str]:
    """The promises of a contract that a component does not keep."""
    kept_or_not = contract()
    kept_or_not.component = component
    names = {name for name in dir(contract) if name.startswith("test_")} - {
        "test_importing_the_plugin_is_cheap",
        "test_no_key_can_be_seen",
    }
    return {name for name in names if not holds(getattr(kept_or_not, name))}


def loss(function: Callable[[cpt.Batch], Any], needs: frozenset[str] | None = None) -> cpt.Loss:
    @attrs.frozen
    class Written(cpt.Loss):
        """Written for one test."""

        name = "written"

        def __call__(self, batch: cpt.Batch) -> Any:
            return function(batch)

    if needs is not None:
        Written.needs = needs  # type: ignore[assignment]
    return Written()


def test_a_right_loss_keeps_all_promises() -> None:
    by_token = loss(
        lambda b: -(b.chosen.tokens.policy * b.chosen.tokens.mask).sum(1), frozenset({"tokens"})
    )
    assert broken(MonotoneLossContract, by_token) == set()


def test_a_loss_with_a_target_keeps_what_every_loss_promises() -> None:
    """IPO (arXiv 2310.12036, equation 17) brings a pair together that is too far apart."""
    ipo = loss(lambda b: (b.chosen.ratio - b.rejected.ratio - 1 / (2 * 0.9)).square())
    assert broken(LossContract, ipo) == set()
    assert broken(MonotoneLossContract, ipo) == {
        "test_the_chosen_is_never_discouraged",
        "test_the_rejected_is_never_encouraged",
    }


def test_an_expensive_import_is_caught(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slow_to_import.py").write_text("import torch\n")
    monkeypatch.syspath_prepend(tmp_path)
    cls = attrs.make_class("Slow", [], bases=(Scripted,), frozen=True)
    cls.__module__ = "slow_to_import"
    contract = ResponderContract()
    contract.component = cls()
    with pytest.raises(AssertionError):
        contract.test_importing_the_plugin_is_cheap()


def test_a_promise_cannot_be_replaced() -> None:
    def replaced(self: object) -> None: ...

    marked = pytest.mark.xfail(reason="as the paper says")(replaced)
    for test in (None, replaced, marked):
        with pytest.raises(TypeError, match="replaces a promise of LossContract"):
            type("TestQuiet", (MonotoneLossContract,), {"test_it_trains": test})
    with pytest.raises(TypeError, match=r"'test_trains'. Did you mean 'test_it_trains'\?"):
        type("TestTypo", (LossContract,), {"breaks": {"test_trains": "it is a baseline"}})


BREAKS = """
import attrs, cpt, pytest
from cpt.testing import {contract}

@attrs.frozen
class Mine(cpt.Loss):
    "Trains in one direction."
    name = "mine"
    def __call__(self, batch):
        return {formula}

class TestMine({contract}):
    breaks = {{"{promise}": "as the paper says"}}

    @pytest.fixture(autouse=True)
    def _component(self):
        self.component = Mine({argument})
"""
FINE = "(batch.rejected.ratio - batch.chosen.ratio).sigmoid()"


@pytest.mark.parametrize(
    ("formula", "argument", "outcome"),
    [
        (f"-{FINE}", "", {"xfailed": 1}),
        ("1 / 0", "", {"xfailed": 1}),
        (FINE, "", {"failed": 1}),  # it keeps what it says that it breaks
        (FINE, "3", {"errors": 1}),  # the test could not even begin
    ],
)
def test_a_promise_that_is_broken_on_purpose_is_tried_and_must_fail(
    pytester: pytest.Pytester, formula: str, argument: str, outcome: dict[str, int]
) -> None:
    promise = "test_the_chosen_is_never_discouraged"
    contract = "MonotoneLossContract"
    pytester.makepyfile(
        BREAKS.format(contract=contract, formula=formula, argument=argument, promise=promise)
    )
    pytester.runpytest_inprocess("-k", promise, "-p", "no:xdist").assert_outcomes(
        **outcome, deselected=len(promises(MonotoneLossContract)) - 1
    )


def promises(contract: type[ComponentContract[Any]]) -> list[str]:
    return [name for name in dir(contract) if name.startswith("test_")]


CONTRACTS = [getattr(testing, name) for name in testing.__all__ if name.endswith("Contract")]


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_promise_is_one_line_and_every_failure_a_sentence(
    contract: type[ComponentContract[Any]],
) -> None:
    for name in promises(contract):
        documented = inspect.getdoc(getattr(contract, name)) or ""
        assert documented.endswith(".") and "\n" not in documented, name
    tree = ast.parse(inspect.getsource(inspect.getmodule(contract)))  # type: ignore[arg-type]
    asserts = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    assert [node.lineno for node in asserts if not node.msg] == []


class TestScripted(ResponderContract):
    component = Scripted(says=("{teacher_reasoning} to {prompt}", "then {sample}"))


def test_fake_pairs_are_a_ladder_of_three() -> None:
    pairs = fake_pairs(9)
    assert [pair.tier for pair in pairs] == [1, 2, 1] * 3
    assert len({pair.margin for pair in pairs}) == len({pair.id for pair in pairs}) == 9


def test_fake_batches_hold_what_is_asked_for() -> None:
    batch = fake_batch(3, needs={"tokens"})
    assert batch.chosen.tokens.policy.requires_grad
    assert batch.chosen.tokens.policy.sum(1).equal(batch.chosen.policy)
    with pytest.raises(cpt.CptError, match="needs"):
        _ = batch.rejected
    with pytest.raises(cpt.CptError, match="needs"):
        _ = batch.chosen.reference


def test_a_fake_ask_asks_once_for_each_sample() -> None:
    ask, prompt = FakeAsk(), fake_prompts(1)[0]

    async def answers() -> list[str]:
        return [(await ask(Scripted(), prompt, sample)).text for sample in (0, 1, 0)]

    first, other, again = asyncio.run(answers())
    assert first == again != other
    assert ask.asked == [("scripted", "p0", 0), ("scripted", "p0", 1)]


def test_the_command_line_runs_in_an_empty_folder(
    cpt_cli: Callable[..., Any], tmp_path: Any
) -> None:
    result = cpt_cli("plugins", "--json")
    assert result.exit_code == 0, result.output
    assert not list(itertools.islice(tmp_path.iterdir(), 1))
