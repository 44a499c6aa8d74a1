"""What components must not return: one line that names the component, what, and what it must."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf, nan
from pathlib import Path
from typing import Any

import attrs
import pytest

import cpt
from cpt.errors import WrongReturn
from cpt.run.stages.evaluation import measure
from cpt.run.stages.pairing import pair_one
from cpt.testing import FakeAsk, Scripted, fake_prompts, fake_responses
from cpt_scored.judged import Rlaif

PROMPT, OTHER = fake_prompts(2)
LIST = "it must return a list of Pair (or NoPair, in place of a pair that cannot be made)."


def pair_of(prompt: cpt.Prompt) -> cpt.Pair:
    chosen, rejected = fake_responses(prompt, 2)
    return cpt.Pair(prompt=prompt, chosen=chosen, rejected=rejected)


async def later() -> list[cpt.Pair]:
    return [pair_of(PROMPT)]


@attrs.frozen
class Mine(cpt.Pairer):
    """Returns what it is given."""

    name = "mine"
    make: Callable[[], Any]

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Any:
        return self.make()


@attrs.frozen
class Blocking(cpt.Pairer):
    """Lacks `async`."""

    name = "mine"

    def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Any:
        return [pair_of(prompt)]


@attrs.frozen
class Generating(cpt.Pairer):
    """Yields its pairs."""

    name = "mine"

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> Any:
        yield pair_of(prompt)


def complaint(coroutine: Any) -> str:
    with pytest.raises(WrongReturn) as caught:
        asyncio.run(coroutine)
    message = caught.value.message
    assert "\n" not in message
    return message


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("pairer", "expected"),
    [
        (Mine(lambda: None), f"returned None for prompt 'p0'; {LIST}"),
        (Mine(lambda: pair_of(PROMPT)), f"returned a Pair for prompt 'p0'; {LIST}"),
        (Mine(lambda: "a > b"), f"returned 'a > b' for prompt 'p0'; {LIST}"),
        (Mine(dict), f"returned a dict for prompt 'p0'; {LIST}"),
        (Mine(later), f"returned a coroutine that was not awaited for prompt 'p0'; {LIST}"),
        (
            Mine(lambda: [later()]),
            f"returned a coroutine that was not awaited in a list for prompt 'p0'; {LIST}",
        ),
        (Mine(lambda: [0.5]), f"returned 0.5 in a list for prompt 'p0'; {LIST}"),
        (
            Mine(lambda: [pair_of(OTHER)]),
            "returned a Pair for prompt 'p0'; this one is of prompt 'p1'.",
        ),
        (Blocking(), "returned a list; `pair` must be async: write `async def pair`."),
        (
            Generating(),
            "returned an async generator; `pair` must return a list: replace `yield`.",
        ),
    ],
)
def test_pairers(pairer: cpt.Pairer, expected: str) -> None:
    assert complaint(pair_one(pairer, PROMPT, FakeAsk())) == f"the pairer 'mine' {expected}"


@pytest.mark.parametrize("side", ["prompt", "chosen", "rejected"])
def test_a_pair_of_something_else(side: str) -> None:
    def make() -> list[cpt.Pair]:
        chosen, rejected = fake_responses(PROMPT, 2)
        parts: dict[str, Any] = {"prompt": PROMPT, "chosen": chosen, "rejected": rejected}
        return [cpt.Pair(**{**parts, side: "text"})]

    kind = "Prompt" if side == "prompt" else "Response"
    expected = f"the pairer 'mine': Pair.{side} must be a {kind}, got 'text'."
    assert complaint(pair_one(Mine(make), PROMPT, FakeAsk())) == expected


@attrs.frozen
class Strange(cpt.Judge):
    """Returns what it is given."""

    name = "strange"
    make: Callable[[], Any]

    async def judge(self, prompt: cpt.Prompt, responses: Any, ask: cpt.Ask) -> Any:
        return self.make()


@attrs.frozen
class Abrupt(cpt.Judge):
    """Lacks `async`."""

    name = "strange"

    def judge(self, prompt: cpt.Prompt, responses: Any, ask: cpt.Ask) -> Any:
        return cpt.Verdict(scores=(1.0, 0.0))


def scored(*scores: Any) -> Callable[[], Any]:
    return lambda: cpt.Verdict(scores=scores)


@attrs.frozen
class Trusting(cpt.Pairer):
    """A stranger's pairer, which calls a judge and believes it."""

    name = "trusting"
    judge: cpt.Judge

    async def pair(self, prompt: cpt.Prompt, ask: cpt.Ask) -> list[cpt.Pair]:
        verdict = await self.judge.judge(prompt, fake_responses(prompt, 2), ask)
        assert verdict.scores
        return [pair_of(prompt)]


NUMBERS = ": Verdict.scores must be finite numbers, or None for no score, got"


@pytest.mark.parametrize(
    ("judge", "expected"),
    [
        (Strange(lambda: None), " returned None for prompt 'p0'; it must return a Verdict."),
        (Strange(lambda: 0.5), " returned 0.5 for prompt 'p0'; it must return a Verdict."),
        (Strange(lambda: [1, 2]), " returned a list for prompt 'p0'; it must return a Verdict."),
        (
            Strange(scored(1.0, 2.0, 3.0)),
            " returned 3 scores for 2 responses of prompt 'p0'; it must return one for each.",
        ),
        (Strange(scored(nan, 1.0)), f"{NUMBERS} nan."),
        (Strange(scored(1.0, inf)), f"{NUMBERS} inf."),
        (Strange(scored("good", 1.0)), f"{NUMBERS} 'good'."),
        (
            Strange(lambda: cpt.Verdict(scores=0.5)),  # type: ignore[arg-type]
            ": Verdict.scores must be a tuple, one score a response, got 0.5.",
        ),
        (Abrupt(), " returned a Verdict; `judge` must be async: write `async def judge`."),
    ],
)
def test_judges_of_strangers_called_by_strangers(judge: cpt.Judge, expected: str) -> None:
    for pairer in (Trusting(judge), Rlaif(responder=Scripted(), judge=judge, samples=2)):
        made = complaint(pair_one(pairer, PROMPT, FakeAsk()))
        assert made == f"the pairer {pairer.name!r}: the judge 'strange'{expected}"


def test_a_judge_that_asks_the_class_above_is_named_once() -> None:
    @attrs.frozen
    class Heir(Strange):
        """Asks the one above."""

        async def judge(self, prompt: cpt.Prompt, responses: Any, ask: cpt.Ask) -> Any:
            return await Strange.judge(self, prompt, responses, ask)

    made = complaint(Heir(scored(nan)).judge(PROMPT, fake_responses(PROMPT, 1), FakeAsk()))
    assert made == f"the judge 'strange'{NUMBERS} nan."


@attrs.frozen
class Meter(cpt.Evaluator):
    """Returns what it is given."""

    name = "meter"
    make: Callable[[], Any]

    async def evaluate(self, model: Any, prompts: Any, ask: Any) -> Any:
        return self.make()


@attrs.frozen
class Ruler(cpt.Evaluator):
    """Lacks `async`."""

    name = "meter"

    def evaluate(self, model: Any, prompts: Any, ask: Any) -> Any:
        return {}


ONE = cpt.Score(value=1.0, low=1.0, high=1.0)
DICT = "it must return a dict of Scores by name."


@pytest.mark.parametrize(
    ("evaluator", "expected"),
    [
        (Meter(lambda: None), f" returned None; {DICT}"),
        (Meter(lambda: 0.5), f" returned 0.5; {DICT}"),
        (Meter(lambda: ONE), f" returned a Score; {DICT}"),
        (Meter(lambda: {"words": 3.5}), f" returned 3.5 as the score 'words'; {DICT}"),
        (
            Meter(lambda: {"mean words": ONE}),
            " returned 'mean words' as the name of a score; a name has no blanks.",
        ),
        (Meter(lambda: {"": ONE}), " returned '' as the name of a score; a name has no blanks."),
        (Ruler(), " returned a dict; `evaluate` must be async: write `async def evaluate`."),
        (
            Meter(lambda: {"words": cpt.Score(value=3.0, low=0.0, high=1.0)}),
            ": Score(value=3.0, low=0.0, high=1.0): the value must be in its interval.",
        ),
        (
            Meter(lambda: {"words": cpt.Score(value=nan, low=nan, high=nan)}),
            ": Score(value=nan, low=nan, high=nan): must have numbers, and a finite value.",
        ),
        (
            Meter(lambda: {"words": cpt.Score(value=1.0, low=0.0, high=2.0, each={"p0": nan})}),
            ": Score(value=1.0, low=0.0, high=2.0): the value of prompt 'p0' is nan, not a number.",
        ),
        (
            Meter(lambda: {"words": cpt.Score.mean({})}),
            ": Score.mean: there is no value to take the mean of.",
        ),
    ],
)
def test_evaluators(evaluator: cpt.Evaluator, expected: str) -> None:
    given = cpt.Evaluation(model=Scripted(), base=Scripted(), prompts=[PROMPT])
    made = complaint(measure([evaluator], given, FakeAsk()))
    assert made == f"the evaluator 'meter'{expected}"


def test_the_interval_of_one_value_has_no_end_and_that_of_two_has() -> None:
    assert cpt.Score.mean({"a": 1.0}).high == inf
    with pytest.raises(WrongReturn, match="the interval of 2 values must be finite"):
        cpt.Score(value=1.0, low=-inf, high=inf, each={"a": 0.0, "b": 2.0})


PLUGIN = '''
import attrs
import cpt


@attrs.frozen
class Silent(cpt.Pairer):
    """Forgets to return."""

    name = "silent"

    async def pair(self, prompt, ask):
        pass


@cpt.hookimpl
def cpt_pairers():
    return [Silent]
'''


def test_on_the_command_line_it_is_one_line(cpt_cli: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "silent.py").write_text(PLUGIN)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "A?"}\n' * 3)
    line = "-p silent.py pair --prompts prompts.jsonl --pairer silent --output run"
    failed = cpt_cli(*line.split())
    assert failed.exit_code == 2
    _, said = failed.stderr.splitlines()
    assert said == f"cpt: the pairer 'silent' returned None for prompt 'row-1'; {LIST}"
