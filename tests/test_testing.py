"""The kit catches what it promises to catch."""

from __future__ import annotations

import ast
import asyncio
import inspect
import itertools
import random
import secrets
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import attrs
import pytest

import cpt
from cpt import testing
from cpt.testing import (
    ComponentContract,
    EvaluatorContract,
    FakeAsk,
    FilterContract,
    JudgeContract,
    LossContract,
    MonotoneLossContract,
    PairerContract,
    ResponderContract,
    SchedulerContract,
    Scripted,
    fake_batch,
    fake_pairs,
    fake_prompts,
)

pytest_plugins = ["pytester"]


def broken(contract: type[ComponentContract[Any]], component: cpt.Component) -> set[str]:
    """The promises of a contract that a component does not keep."""
    kept_or_not = contract()
    kept_or_not.component = component
    names = {name for name in dir(contract) if name.startswith("test_")} - {
        "test_importing_the_plugin_is_cheap",
        "test_no_key_can_be_seen",
    }
    return {name for name in names if not _holds(getattr(kept_or_not, name))}


def _holds(promise: Callable[..., None]) -> bool:
    """Whether a promise is kept; if it is not, a sentence must say so."""
    try:
        promise()
    except AssertionError as failure:
        said = str(failure).partition("\n")[0]
        assert said.endswith(".") and " " in said, said
        return False
    except Exception:
        return False
    return True


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


def dpo(batch: cpt.Batch) -> Any:
    return -(batch.chosen.ratio - batch.rejected.ratio).sigmoid().clamp(min=1e-6).log()


@pytest.mark.parametrize(
    ("wrong", "caught"),
    [
        (lambda b: dpo(b).mean(), "test_one_finite_number_per_pair"),
        (lambda b: b.rejected.ratio.exp() - b.chosen.ratio, "test_hopeless_pairs_stay_finite"),
        (lambda b: dpo(b) * b.margin, "test_unknown_margins_and_scores_do_no_harm"),
        (lambda b: dpo(b) / dpo(b).detach().max(), "test_pairs_do_not_affect_each_other"),
        (lambda b: -dpo(b), "test_the_chosen_is_never_discouraged"),
        (lambda b: -dpo(b), "test_the_rejected_is_never_encouraged"),
        (lambda b: dpo(b) * 0, "test_it_trains"),
        (lambda b: dpo(b) * (1 + random.random()), "test_the_same_batch_gives_the_same_loss"),
        (lambda b: b.chosen.tokens.policy.sum(1), "test_it_needs_what_it_names_and_no_more"),
    ],
)
def test_a_wrong_loss_is_caught(wrong: Callable[[cpt.Batch], Any], caught: str) -> None:
    assert caught in broken(MonotoneLossContract, loss(wrong))


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


class Scheduled(cpt.Scheduler):
    """What the schedulers below have in common."""

    name = "scheduled"


def chunks(order: Sequence[int], size: int) -> list[Sequence[int]]:
    return [order[at : at + size] for at in range(0, len(order), size)]


@attrs.frozen
class Unseeded(Scheduled):
    """Draws from the process's own generator."""

    def batches(self, pairs: Any, size: int, seed: int, epochs: int) -> Any:
        for _ in range(epochs):
            yield from chunks(random.sample(range(len(pairs)), len(pairs)), size)


@attrs.frozen
class ByHash(Scheduled):
    """Takes the order of a set."""

    def batches(self, pairs: Any, size: int, seed: int, epochs: int) -> Any:
        ids = list({pair.id for pair in pairs})
        place = {pair.id: index for index, pair in enumerate(pairs)}
        yield from chunks([place[pair] for pair in ids], size)


@attrs.frozen
class Ragged(Scheduled):
    """Begins with a short batch and ends beyond the last pair."""

    def batches(self, pairs: Any, size: int, seed: int, epochs: int) -> Any:
        yield [0]
        yield from chunks(range(1, len(pairs) + 2), size)


def test_wrong_schedulers_are_caught() -> None:
    assert "test_a_resumed_run_sees_the_rest" in broken(SchedulerContract, Unseeded())
    assert "test_every_process_of_a_world_sees_the_same_without_torch" in broken(
        SchedulerContract, ByHash()
    )
    assert {
        "test_indices_are_in_range",
        "test_batches_are_full_but_for_the_last_of_an_epoch",
        "test_an_empty_set_gives_no_batches",
    } <= broken(SchedulerContract, Ragged())


class Sifting(cpt.Filter):
    """What the filters below have in common."""

    name = "sifting"


class Whole(Sifting):
    """Keeps what is there."""

    def filter(self, pairs: Any) -> Any:
        yield from pairs


class Omitting(Sifting):
    """Leaves out what it drops."""

    def filter(self, pairs: Any) -> Any:
        yield from (pair for place, pair in enumerate(pairs) if place % 2)


class Sorting(Sifting):
    """Gives the pairs another order."""

    def filter(self, pairs: Any) -> Any:
        yield from sorted(pairs, key=lambda pair: (pair.margin, pair.id))


class Renaming(Sifting):
    """Gives a pair a new id."""

    def filter(self, pairs: Any) -> Any:
        yield from (attrs.evolve(pair, id=f"new {pair.id}") for pair in pairs)


class Measuring(Sifting):
    """Asks for the length."""

    def filter(self, pairs: Any) -> Any:
        yield from (pairs[place] for place in range(len(pairs)))


class Hoarding(Sifting):
    """Holds all pairs."""

    def filter(self, pairs: Any) -> Any:
        yield from list(pairs)


class Remembering(Sifting):
    """Drops what it has seen before, in whichever run."""

    seen: ClassVar[set[str]] = set()

    def filter(self, pairs: Any) -> Any:
        for pair in pairs:
            known = pair.id in self.seen
            self.seen.add(pair.id)
            yield cpt.Drop("seen") if known else pair


class Hashing(Sifting):
    """Decides by a hash that every process has for itself."""

    def filter(self, pairs: Any) -> Any:
        yield from (cpt.Drop("odd") if hash(pair.id) % 2 else pair for pair in pairs)


class Refusing(Sifting):
    """Drops all of them, for a sentence."""

    def filter(self, pairs: Any) -> Any:
        yield from (cpt.Drop("it is not good") for _ in pairs)


class Assuming(Sifting):
    """Takes it that there is a pair."""

    def filter(self, pairs: Any) -> Any:
        yield next(iter(pairs))
        yield from itertools.islice(pairs, 1, None)


SIFTED = {"test_it_is_a_frozen_attrs_class"}


@pytest.mark.parametrize(
    ("filter", "promises"),
    [
        (Whole(), set()),
        (Omitting(), {"test_each_pair_gets_one_decision_in_order"}),
        (Renaming(), {"test_each_pair_gets_one_decision_in_order"}),
        (
            Sorting(),
            {
                "test_each_pair_gets_one_decision_in_order",
                "test_pairs_are_not_held_in_memory",
            },
        ),
        (Hoarding(), {"test_pairs_are_not_held_in_memory"}),
        (Hashing(), {"test_another_process_decides_the_same"}),
        (Refusing(), {"test_some_pairs_are_kept", "test_a_reason_is_a_short_name"}),
        (Assuming(), {"test_no_pairs_give_no_decision"}),
    ],
    ids=lambda value: value.__class__.__name__,
)
def test_a_wrong_filter_breaks_the_promise_that_it_breaks(
    filter: cpt.Filter, promises: set[str]
) -> None:
    assert broken(FilterContract, filter) == promises | SIFTED


def test_filters_that_need_more_than_a_loop_are_caught() -> None:
    assert "test_pairs_come_one_by_one" in broken(FilterContract, Measuring())
    contract = FilterContract()
    contract.component = Remembering()
    with pytest.raises(AssertionError, match="The same pairs gave"):
        contract.test_the_same_pairs_give_the_same_result()


@attrs.frozen
class Moody(Scripted):
    """Answers as it likes, and tells its key."""

    name = "moody"

    @property
    def identity(self) -> Any:
        return {"when": self}

    def answer_all(self, requests: Any) -> Any:
        said = super().answer_all(requests)
        return [attrs.evolve(answer, text=secrets.token_hex()) for answer in said]


def test_wrong_responders_are_caught() -> None:
    assert {
        "test_the_same_request_gets_the_same_answer",
        "test_company_changes_no_answer",
        "test_its_identity_is_plain_data",
    } <= broken(ResponderContract, Moody())


def test_a_key_in_the_identity_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-live-123456")
    contract = ResponderContract()
    contract.component = Scripted(model="sk-live-123456")
    with pytest.raises(AssertionError):
        contract.test_no_key_can_be_seen(monkeypatch)


@attrs.frozen
class FirstIsBest(cpt.Judge):
    """Likes what it reads first."""

    name = "first_is_best"

    async def judge(self, prompt: Any, responses: Any, ask: Any) -> cpt.Verdict:
        return cpt.Verdict(scores=tuple(-float(index) for index in range(len(responses))))


def test_a_judge_that_goes_by_position_is_caught() -> None:
    assert broken(JudgeContract, FirstIsBest()) == {"test_the_order_of_presentation_does_not_count"}


@attrs.frozen
class Careless(cpt.Pairer):
    """Takes any answer, puts it to another prompt, and returns nothing for some."""

    name = "careless"
    student: cpt.Responder = attrs.field(factory=Scripted)
    """Who answers."""

    async def pair(self, prompt: Any, ask: Any) -> Any:
        said = await ask(self.student, prompt)
        other = attrs.evolve(said, prompt_id="other", author="other")
        two = [cpt.Pair(prompt=prompt, chosen=said, rejected=other)] * 2
        return two if prompt.id == "p0" else []


def test_a_wrong_pairer_is_caught() -> None:
    assert {
        "test_it_makes_pairs",
        "test_pairs_belong_to_their_prompt",
        "test_no_answers_give_no_pair",
    } <= broken(PairerContract, Careless())


@attrs.frozen
class Forgetful(cpt.Pairer):
    """Forgets what a prompt is labelled with."""

    name = "forgetful"

    async def pair(self, prompt: Any, ask: Any) -> Any:
        good, bad = await ask(Scripted(), prompt), await ask(Scripted(model="bad"), prompt)
        return [cpt.Pair(prompt=attrs.evolve(prompt, info={}), chosen=good, rejected=bad)]


def test_metadata_that_is_lost_is_caught() -> None:
    found = broken(PairerContract, Forgetful())
    assert "test_the_metadata_of_the_prompt_stays" in found


@attrs.frozen
class Sure(cpt.Evaluator):
    """Is surer than it may be."""

    name = "sure"

    async def evaluate(self, model: Any, prompts: Any, ask: Any) -> Any:
        return {"score": cpt.Score(value=1.0, low=0.0, high=0.5)}


@attrs.frozen
class Confused(cpt.Evaluator):
    """Measures prompts that it was not given."""

    name = "confused"

    async def evaluate(self, model: Any, prompts: Any, ask: Any) -> Any:
        return {"score": cpt.Score.mean({"nobody": 1.0})}


def test_a_wrong_evaluator_is_caught() -> None:
    assert "test_every_value_lies_in_its_interval" in broken(EvaluatorContract, Sure())
    assert broken(EvaluatorContract, Confused()) == {"test_single_values_are_by_prompt"}


class Undecorated(Scripted):
    """Says nothing of its options
    in its first line."""

    name = "Un-Decorated"
    extra: int = 1


@attrs.frozen
class Undescribed(Scripted):
    """Has an option without a help text, which is no plain data."""

    name = "undescribed"
    extra: object = object()


def test_what_every_component_promises_is_checked() -> None:
    assert {
        "test_it_is_a_frozen_attrs_class",
        "test_the_name_is_easy_to_type",
        "test_the_docstring_begins_with_one_line",
    } <= broken(ResponderContract, Undecorated())
    assert broken(ResponderContract, Undescribed()) >= {
        "test_every_option_says_what_it_is",
        "test_options_survive_a_round_trip",
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
