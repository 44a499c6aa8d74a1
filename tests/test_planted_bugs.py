"""Bugs that are easy to make, by role, and the promise of the contract kit that catches each."""

from __future__ import annotations

import itertools
import random
import secrets
from collections.abc import Callable, Sequence
from math import inf, nan
from typing import Any

import attrs
import pytest

import cpt
from cpt import roles
from cpt.testing import (
    ComponentContract,
    EvaluatorContract,
    FilterContract,
    JudgeContract,
    LossContract,
    MonotoneLossContract,
    ObserverContract,
    PairerContract,
    ResponderContract,
    SchedulerContract,
    Scripted,
)

from .promises import holds

Kind = tuple[type[ComponentContract[Any]], str, type[cpt.Component]]
"""A contract, the method of the role, and its base class."""

ROLES: dict[str, Kind] = {
    "responder": (ResponderContract, "answer_all", cpt.Local),
    "judge": (JudgeContract, "judge", cpt.Judge),
    "pairer": (PairerContract, "pair", cpt.Pairer),
    "filter": (FilterContract, "filter", cpt.Filter),
    "scheduler": (SchedulerContract, "batches", cpt.Scheduler),
    "loss": (MonotoneLossContract, "__call__", cpt.Loss),
    "evaluator": (EvaluatorContract, "evaluate", cpt.Evaluator),
}


numbers = itertools.count()


def component(role: str, work: Any, **more: Any) -> cpt.Component:
    """A component that does its work with this function, of a class that can be pickled."""
    _, method, base = ROLES[role]
    called = f"Planted{next(numbers)}"
    body = {"name": "planted", "__doc__": "Written for one test.", method: work, **more}
    globals()[called] = attrs.frozen(type(called, (base,), {**body, "__module__": __name__}))
    return globals()[called]()


def kept(contract: type[ComponentContract[Any]], one: cpt.Component, promise: str) -> bool:
    """Whether a component keeps a promise."""
    bound = contract()
    bound.component = one
    with pytest.MonkeyPatch.context() as patch:
        arguments = (patch,) if promise == "test_no_key_can_be_seen" else ()
        return holds(getattr(bound, promise), *arguments)


def promises(contract: type[ComponentContract[Any]]) -> list[str]:
    quick = {"test_importing_the_plugin_is_cheap", "test_options_survive_a_round_trip"}
    return [name for name in dir(contract) if name.startswith("test_") and name not in quick]


# --- Responders ---------------------------------------------------------------------------------


def said(prompt: Any, text: str = "It is so.", **more: Any) -> cpt.Response:
    return cpt.Response(**{"prompt_id": prompt.id, "text": text, "author": "planted", **more})


def answers(self: Any, requests: Any) -> Any:
    return [said(prompt, f"{prompt.id}, {sample}") for prompt, sample in requests]


def signed_by_another(self: Any, requests: Any) -> Any:
    return [said(prompt, author="gpt-4") for prompt, _ in requests]


def to_the_first_prompt(self: Any, requests: Any) -> Any:
    return [said(requests[0][0]) for _ in requests]


def silent(self: Any, requests: Any) -> Any:
    return [said(prompt, "") for prompt, _ in requests]


def as_it_likes(self: Any, requests: Any) -> Any:
    return [said(prompt, secrets.token_hex()) for prompt, _ in requests]


def by_place(self: Any, requests: Any) -> Any:
    return [said(prompt, f"{place}") for place, (prompt, _) in enumerate(requests)]


def padded(self: Any, requests: Any) -> Any:
    """As a batch does whose shorter prompts see the padding."""
    longest = max(len(prompt.id) + sample for prompt, sample in requests)
    return [said(prompt, f"{longest - sample}") for prompt, sample in requests]


@attrs.frozen
class Held(cpt.Service):
    """A service whose time-out makes another model of it."""

    name = "held"
    key: str = "sk-live-12345678"
    """The key, in the open."""

    @property
    def identity(self) -> Any:
        return {"timeout": self.timeout}

    async def answer(self, prompt: Any, sample: int) -> Any:
        return said(prompt, author="held")


# --- Judges, pairers, evaluators ----------------------------------------------------------------


def scored(score: Callable[[Any, int, Sequence[Any]], float | None]) -> Any:
    """A judge that scores each response by itself, its place, or the company."""

    async def judge(self: Any, prompt: Any, responses: Any, ask: Any) -> cpt.Verdict:
        found = (score(one, place, responses) for place, one in enumerate(responses))
        return cpt.Verdict(scores=tuple(found))

    return judge


def beats_the_one_before(one: Any, place: int, responses: Sequence[Any]) -> float:
    return float(responses[place - 1].text < one.text)


async def leaves_out_the_last(self: Any, prompt: Any, responses: Any, ask: Any) -> cpt.Verdict:
    return cpt.Verdict(scores=(1.0,) * (len(responses) - 1))


def from_two(
    change: Callable[[cpt.Pair], object] = lambda pair: pair, expected: bool = True
) -> Any:
    """A pairer that asks two models, and changes the pair that it makes of their answers."""

    async def pair(self: Any, prompt: Any, ask: Any) -> Any:
        good, bad = await ask(Scripted(), prompt), await ask(Scripted(model="bad"), prompt)
        if expected:
            good, bad = good.expect(), bad.expect()
        made = change(cpt.Pair(prompt=prompt, chosen=good, rejected=bad))
        return made if isinstance(made, list) else [made]

    return pair


def with_(**changes: Any) -> Callable[[cpt.Pair], cpt.Pair]:
    return lambda pair: attrs.evolve(pair, **changes)


def answered_elsewhere(pair: cpt.Pair) -> cpt.Pair:
    return attrs.evolve(pair, rejected=attrs.evolve(pair.rejected, prompt_id="other"))


def without_info(pair: cpt.Pair) -> cpt.Pair:
    return attrs.evolve(pair, prompt=attrs.evolve(pair.prompt, info={}))


async def never(self: Any, prompt: Any, ask: Any) -> Any:
    raise cpt.NoPair("tie")


async def without_a_reason(self: Any, prompt: Any, ask: Any) -> Any:
    raise cpt.NoPair("")


def returns(scores: Callable[[Sequence[Any]], Any]) -> Any:
    """An evaluator that makes its scores of the prompts alone."""

    async def evaluate(self: Any, model: Any, prompts: Any, ask: Any) -> Any:
        return scores(prompts)

    return evaluate


def score_of(value: float, low: float, high: float) -> Any:
    return lambda prompts: {"score": cpt.Score(value=value, low=low, high=high)}


def means(value: Callable[[], float]) -> Any:
    return lambda prompts: {"score": cpt.Score.mean({one.id: value() for one in prompts})}


def of_somebody_else(prompts: Sequence[Any]) -> Any:
    return {"score": cpt.Score.mean({"nobody": 1.0})}


def missing_somebody(prompts: Sequence[Any]) -> Any:
    return {"score": cpt.Score.mean({prompts[0].id: 1.0}, {"nobody": cpt.Missing("cut")})}


counting = itertools.count()


# --- Filters and schedulers ---------------------------------------------------------------------


def keeps(self: Any, pairs: Any) -> Any:
    yield from pairs


def omits(self: Any, pairs: Any) -> Any:
    yield from (pair for place, pair in enumerate(pairs) if place % 2)


def renames(self: Any, pairs: Any) -> Any:
    yield from (attrs.evolve(pair, id=f"new {pair.id}") for pair in pairs)


def sorts(self: Any, pairs: Any) -> Any:
    yield from sorted(pairs, key=lambda pair: (pair.margin, pair.id))


def measures(self: Any, pairs: Any) -> Any:
    yield from (pairs[place] for place in range(len(pairs)))


def hoards(self: Any, pairs: Any) -> Any:
    yield from list(pairs)


seen: set[str] = set()


def remembers(self: Any, pairs: Any) -> Any:
    for pair in pairs:
        known = pair.id in seen
        seen.add(pair.id)
        yield cpt.Drop("seen") if known else pair


def hashes(self: Any, pairs: Any) -> Any:
    yield from (cpt.Drop("odd") if hash(pair.id) % 2 else pair for pair in pairs)


def drops_all(self: Any, pairs: Any) -> Any:
    yield from (cpt.Drop("bad") for _ in pairs)


def explains(self: Any, pairs: Any) -> Any:
    yield from (cpt.Drop("it is not good") if pair.tier == 2 else pair for pair in pairs)


def assumes_one(self: Any, pairs: Any) -> Any:
    yield next(iter(pairs))
    yield from itertools.islice(pairs, 1, None)


def in_chunks(order: Callable[[Sequence[Any], int], Sequence[int]]) -> Any:
    """A scheduler that cuts an order of the pairs into batches."""

    def batches(self: Any, pairs: Any, size: int, seed: int, epochs: int) -> Any:
        for _ in range(epochs):
            indices = order(pairs, seed)
            yield from (indices[at : at + size] for at in range(0, len(indices), size))

    return batches


def seeded(pairs: Sequence[Any], seed: int) -> Sequence[int]:
    return random.Random(seed).sample(range(len(pairs)), len(pairs))


def unseeded(pairs: Sequence[Any], seed: int) -> Sequence[int]:
    return random.sample(range(len(pairs)), len(pairs))


def by_a_set(pairs: Sequence[Any], seed: int) -> Sequence[int]:
    place = {pair.id: index for index, pair in enumerate(pairs)}
    return [place[name] for name in {pair.id for pair in pairs}]


def with_torch(pairs: Sequence[Any], seed: int) -> Sequence[int]:
    import torch

    return torch.randperm(len(pairs), generator=torch.Generator().manual_seed(seed)).tolist()


def one_too_many(pairs: Sequence[Any], seed: int) -> Sequence[int]:
    return range(len(pairs) + 1) if pairs else ()


def at_least_one(pairs: Sequence[Any], seed: int) -> Sequence[int]:
    return range(max(1, len(pairs)))


def short_first(self: Any, pairs: Any, size: int, seed: int, epochs: int) -> Any:
    yield [0]
    for at in range(1, len(pairs), size):
        yield range(at, min(at + size, len(pairs)))


turn = itertools.count()


def turned(pairs: Sequence[Any], seed: int) -> Sequence[int]:
    """Goes on from where the last run was."""
    first = next(turn) % max(1, len(pairs))
    return [*range(first, len(pairs)), *range(first)]


# --- Losses -------------------------------------------------------------------------------------


def dpo(batch: cpt.Batch) -> Any:
    return -(batch.chosen.ratio - batch.rejected.ratio).sigmoid().clamp(min=1e-6).log()


def formula(function: Callable[[cpt.Batch], Any]) -> Any:
    return lambda self, batch: function(batch)


# --- The table ----------------------------------------------------------------------------------

RIGHT: dict[str, Any] = {
    "responder": answers,
    "judge": scored(lambda one, place, all: float(len(one.text))),
    "pairer": from_two(),
    "filter": keeps,
    "scheduler": in_chunks(seeded),
    "loss": formula(dpo),
    "evaluator": returns(means(lambda: 0.5)),
}

BUGS: dict[str, dict[str, dict[str, Any]]] = {
    "responder": {
        "the_answer_is_to_the_prompt_and_signed": {
            "signs with another name": signed_by_another,
            "answers the first prompt alone": to_the_first_prompt,
            "calls no text an answer": silent,
        },
        "the_same_request_gets_the_same_answer": {
            "has no seed": as_it_likes,
        },
        "company_changes_no_answer": {
            "counts places in the batch": by_place,
            "sees the padding": padded,
        },
    },
    "judge": {
        "one_score_for_each_response": {
            "leaves a response out": leaves_out_the_last,
            "divides by zero": scored(lambda one, place, all: nan),
            "is beyond all bounds": scored(lambda one, place, all: inf),
            "reads no score at all": scored(lambda one, place, all: None),
        },
        "the_order_of_presentation_does_not_count": {
            "likes what comes first": scored(lambda one, place, all: -float(place)),
            "compares with the one before": scored(
                lambda one, place, all: float(all[place - 1].text < one.text)
            ),
        },
        "the_same_question_gets_the_same_verdict": {
            "draws lots": scored(lambda one, place, all: random.random()),
            "tires": scored(lambda one, place, all: -float(next(counting))),
        },
    },
    "pairer": {
        "it_makes_pairs": {
            "returns an empty list": from_two(lambda pair: []),
            "never finds a pair": never,
            "gives no reason": without_a_reason,
        },
        "pairs_belong_to_their_prompt": {
            "takes an answer to another prompt": from_two(answered_elsewhere),
            "signs for another": from_two(with_(pairer="clair")),
        },
        "the_metadata_of_the_prompt_stays": {
            "loses the metadata": from_two(without_info),
        },
        "numbers_make_sense": {
            "has a tier below zero": from_two(with_(tier=-1)),
            "weighs nothing": from_two(with_(weight=0.0)),
            "has a margin that is no number": from_two(with_(margin=nan)),
        },
        "the_same_answers_give_the_same_pairs": {
            "draws the margin": from_two(lambda pair: attrs.evolve(pair, margin=random.random())),
        },
        "no_answers_give_no_pair": {
            "takes a failure for an answer": from_two(expected=False),
        },
    },
    "filter": {
        "each_pair_gets_one_decision_in_order": {
            "leaves out what it drops": omits,
            "gives pairs new names": renames,
            "sorts": sorts,
        },
        "pairs_come_one_by_one": {
            "asks for the length": measures,
        },
        "pairs_are_not_held_in_memory": {
            "holds all pairs": hoards,
        },
        "the_same_pairs_give_the_same_result": {
            "remembers the last run": remembers,
        },
        "another_process_decides_the_same": {
            "trusts a hash": hashes,
        },
        "some_pairs_are_kept": {
            "drops everything": drops_all,
        },
        "a_reason_is_a_short_name": {
            "gives a sentence as the reason": explains,
        },
        "no_pairs_give_no_decision": {
            "takes it that there is a pair": assumes_one,
        },
    },
    "scheduler": {
        "indices_are_in_range": {
            "counts one too many": in_chunks(one_too_many),
        },
        "batches_are_full_but_for_the_last_of_an_epoch": {
            "begins with a short batch": short_first,
        },
        "an_empty_set_gives_no_batches": {
            "takes it that there is a pair": in_chunks(at_least_one),
        },
        "a_resumed_run_sees_the_rest": {
            "has no seed": in_chunks(unseeded),
        },
        "two_runs_at_once_do_not_meet": {
            "continues from the last run": in_chunks(turned),
        },
        "every_process_of_a_world_sees_the_same_without_torch": {
            "takes the order of a set": in_chunks(by_a_set),
            "shuffles with torch": in_chunks(with_torch),
        },
    },
    "loss": {
        "one_finite_number_per_pair": {
            "is a mean over the pairs": formula(lambda b: dpo(b).mean()),
        },
        "hopeless_pairs_stay_finite": {
            "overflows": formula(lambda b: b.rejected.ratio.exp() - b.chosen.ratio),
        },
        "unknown_margins_and_scores_do_no_harm": {
            "trusts the margin": formula(lambda b: dpo(b) * b.margin),
        },
        "pairs_do_not_affect_each_other": {
            "is scaled by the batch": formula(lambda b: dpo(b) / dpo(b).detach().max()),
        },
        "the_chosen_is_never_discouraged": {
            "has the wrong sign": formula(lambda b: -dpo(b)),
        },
        "the_rejected_is_never_encouraged": {
            "swaps the sides": formula(lambda b: -(b.rejected.ratio - b.chosen.ratio).sigmoid()),
        },
        "it_trains": {
            "trains nothing": formula(lambda b: dpo(b) * 0),
        },
        "the_same_batch_gives_the_same_loss": {
            "is noisy": formula(lambda b: dpo(b) * (1 + random.random())),
        },
        "it_needs_what_it_names_and_no_more": {
            "reads tokens that it did not name": formula(lambda b: b.chosen.tokens.policy.sum(1)),
        },
    },
    "evaluator": {
        "every_value_lies_in_its_interval": {
            "is surer than it may be": returns(score_of(1.0, 0.0, 0.5)),
            "has its interval the wrong way round": returns(score_of(0.5, 1.0, 0.0)),
            "divides by zero": returns(score_of(nan, 0.0, 1.0)),
            "measures nothing": returns(lambda prompts: {}),
        },
        "single_values_are_by_prompt": {
            "has values of prompts it was not given": returns(
                lambda prompts: {"score": cpt.Score.mean({"nobody": 1.0})}
            ),
            "misses prompts it was not given": returns(
                lambda prompts: {
                    "score": cpt.Score.mean({prompts[0].id: 1.0}, {"nobody": cpt.Missing("cut")})
                }
            ),
        },
        "the_same_answers_give_the_same_scores": {
            "draws": returns(means(random.random)),
            "counts its calls": returns(means(lambda: float(next(counting)))),
        },
    },
}
"""What goes wrong in the work of a component, by role and by the promise that it breaks."""

KEEPS = {role: component(role, work) for role, work in RIGHT.items()}
BREAKS = {
    role: {
        promise: {bug: component(role, work) for bug, work in bugs.items()}
        for promise, bugs in by_promise.items()
    }
    for role, by_promise in BUGS.items()
}
"""The same, made of them when this module is imported, as other processes do."""

OWN: dict[str, tuple[type[ComponentContract[Any]], Callable[[], cpt.Component], str]] = {
    "is no plain data": (
        ResponderContract,
        lambda: component("responder", answers, identity=property(lambda self: {"when": self})),
        "its_identity_is_plain_data",
    ),
    "has no identity": (
        ResponderContract,
        lambda: component("responder", answers, identity=property(lambda self: {})),
        "its_identity_is_plain_data",
    ),
    "costs again when it is asked slower": (
        ResponderContract,
        Held,
        "its_identity_ignores_how_it_is_fetched",
    ),
    "takes single answers and misses the other": (
        LossContract,
        lambda: component("loss", formula(dpo), unpaired=True),
        "a_side_that_is_not_there_counts_for_nothing",
    ),
}
"""Bugs that are in what a class says of itself."""


def test_a_right_component_keeps_what_its_role_promises() -> None:
    for role, (contract, *_) in ROLES.items():
        one = KEEPS[role]
        assert [name for name in promises(contract) if not kept(contract, one, name)] == [], role


@pytest.mark.parametrize(
    ("role", "one", "promise"),
    [
        pytest.param(role, one, promise, id=f"{role} {bug}".replace(" ", "-"))
        for role, by_promise in BREAKS.items()
        for promise, bugs in by_promise.items()
        for bug, one in bugs.items()
    ],
)
def test_a_bug_is_caught_by_the_promise_meant_for_it(role: str, one: Any, promise: str) -> None:
    assert not kept(ROLES[role][0], one, f"test_{promise}")


@pytest.mark.parametrize("bug", OWN)
def test_a_bug_in_what_a_component_says_of_itself_is_caught(bug: str) -> None:
    contract, make, promise = OWN[bug]
    assert not kept(contract, make(), f"test_{promise}")


def test_a_key_that_can_be_seen_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "sk-live-12345678")
    assert not kept(ResponderContract, Held(), "test_no_key_can_be_seen")
    assert kept(ResponderContract, Scripted(), "test_no_key_can_be_seen")


# --- Observers ----------------------------------------------------------------------------------


def observer(**methods: Any) -> cpt.Observer:
    body = {"name": "planted", "__doc__": "Written for one test.", **methods}
    return attrs.frozen(type("Planted", (cpt.Observer,), body))()


def misspelt(self: Any, step: int) -> None: ...
def unmarked(self: Any, step: int) -> None: ...
def unknown(self: Any, epoch: int) -> None: ...
def offering(self: Any) -> Any: ...
async def awaited(self: Any, step: int) -> None: ...
def right(self: Any, step: int) -> None: ...


WATCHED: dict[str, dict[str, Any]] = {
    "misspells a hook": {"cpt_step_ends": cpt.hookimpl(misspelt)},
    "does not mark a hook": {"cpt_step_ended": unmarked},
    "asks for what is not passed": {"cpt_step_ended": cpt.hookimpl(unknown)},
    "has no hook": {},
    "offers losses": {"cpt_losses": cpt.hookimpl(offering)},
    "waits for somebody to await it": {"cpt_step_ended": cpt.hookimpl(awaited)},
}
HOOKS_ARE_CALLED = "test_its_methods_are_hooks_that_are_called"


@pytest.mark.parametrize("bug", WATCHED)
def test_an_observer_that_nothing_calls_is_caught(bug: str) -> None:
    assert not kept(ObserverContract, observer(**WATCHED[bug]), HOOKS_ARE_CALLED)


def test_a_right_observer_keeps_its_promise() -> None:
    one = observer(cpt_step_ended=cpt.hookimpl(right))
    assert [
        name for name in promises(ObserverContract) if not kept(ObserverContract, one, name)
    ] == []


# --- What all of them promise -------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("one", "promise"),
    [
        (Undecorated(), "it_is_a_frozen_attrs_class"),
        (Undecorated(), "the_name_is_easy_to_type"),
        (Undecorated(), "the_docstring_begins_with_one_line"),
        (Undescribed(), "every_option_says_what_it_is"),
        (Undescribed(), "options_survive_a_round_trip"),
    ],
)
def test_what_every_component_promises_is_checked(one: cpt.Component, promise: str) -> None:
    assert not kept(ComponentContract, one, f"test_{promise}")


def test_every_role_has_five_bugs_and_every_promise_of_a_role_one() -> None:
    assert {*ROLES, "observer"} == {*roles.ROLES}
    assert all(sum(map(len, BUGS[role].values())) >= 5 for role in ROLES) and len(WATCHED) >= 5
    caught = {f"test_{promise}" for by_promise in BUGS.values() for promise in by_promise}
    caught |= {f"test_{promise}" for _, _, promise in OWN.values()}
    for contract, *_ in ROLES.values():
        own = {name for name in dir(contract) if name.startswith("test_")}
        assert own - {*dir(ComponentContract), "test_no_key_can_be_seen"} - caught == set()
