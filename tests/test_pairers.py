"""Pairers: who is preferred to whom, and why some prompts give no pair."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest

from cpt import CptError, NoPair, Pairer, Prompt, Response
from cpt.data import read_prompts
from cpt.testing import FakeAsk, PairerContract, Scripted, fake_prompts
from cpt_ladder import Ladder
from cpt_recorded import Recorded

DATA = Path(__file__).parents[1] / "../shared/data"
PROMPT = fake_prompts(1)[0]


def says(*texts: str, author: str = "m") -> Scripted:
    return Scripted(model=author, says=texts)


@attrs.frozen
class Failing(Scripted):
    """Never gets to an answer."""

    outcome: str = "failed"

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        said = super().answer_all(requests)
        return [attrs.evolve(each, outcome=self.outcome, detail="why") for each in said]


async def fate(pairer: Pairer, prompt: Prompt = PROMPT) -> NoPair:
    with pytest.raises(NoPair) as caught:
        await pairer.pair(prompt, FakeAsk())
    return caught.value


THREE = tuple(says(f"{name} {{id}}", author=name) for name in ("strong", "middle", "weak"))


class TestLadder(PairerContract):
    component = Ladder(rungs=THREE)


async def test_every_rung_is_above_those_below_it() -> None:
    pairs = await Ladder(rungs=THREE).pair(PROMPT, FakeAsk())
    assert [(p.chosen.author, p.rejected.author, p.tier, p.margin) for p in pairs] == [
        ("strong", "middle", 1, 1.0),
        ("strong", "weak", 2, 2.0),
        ("middle", "weak", 1, 1.0),
    ]


@pytest.mark.parametrize("named", ["0>2", "strong>weak", " strong > 2"])
async def test_only_the_named_rungs_meet(named: str) -> None:
    ladder = Ladder(rungs=THREE, pairs=(named,))
    ladder.check()
    (pair,) = await ladder.pair(PROMPT, FakeAsk())
    assert (pair.chosen.author, pair.rejected.author, pair.tier) == ("strong", "weak", 2)


@pytest.mark.parametrize(
    ("ladder", "complaint"),
    [
        (Ladder(rungs=THREE[:1]), "has two or more, not 1"),
        (Ladder(rungs=THREE, pairs=("2>0",)), "does not stand above"),
        (Ladder(rungs=THREE, pairs=("0>3",)), "rungs 0 to 2, or with authors strong, middle, weak"),
        (Ladder(rungs=THREE, pairs=("0",)), "is not BETTER>WORSE"),
    ],
)
def test_ladders_that_cannot_stand(ladder: Ladder, complaint: str) -> None:
    with pytest.raises(CptError, match=complaint):
        ladder.check()


async def test_a_rung_without_an_answer_leaves_the_others() -> None:
    rungs = (THREE[0], Failing(model="middle"), THREE[2])
    (pair,) = await Ladder(rungs=rungs).pair(PROMPT, FakeAsk())
    assert (pair.chosen.author, pair.rejected.author) == ("strong", "weak")


async def test_a_ladder_without_two_answers_says_why() -> None:
    rungs = (THREE[0], Failing(model="middle"), Failing(model="weak", outcome="cut_off"))
    none = await fate(Ladder(rungs=rungs))
    assert (none.reason, none.detail) == ("failed", "middle: why")


@pytest.mark.skipif(not DATA.exists(), reason="the published answers are not here")
async def test_the_ladder_of_the_paper() -> None:
    file = DATA / "ladder_805.jsonl"
    authors = ("gpt4", "gpt-3.5-turbo-0301", "text_davinci_003")
    ladder = Ladder(rungs=tuple(Recorded(source=f"{file}#{author}") for author in authors))
    ask = FakeAsk()
    pairs = [pair for prompt in read_prompts(file) for pair in await ladder.pair(prompt, ask)]
    differ = [pair for pair in pairs if pair.chosen.text.strip() != pair.rejected.text.strip()]
    assert len(pairs) == 2415
    assert Counter(pair.tier for pair in differ) == {2: 793, 1: 1599}
