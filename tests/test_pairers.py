"""Pairers: who is preferred to whom, and why some prompts give no pair."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from cpt import Ask, NoPair, Pair, Pairer, Prompt, Response, config, open_run
from cpt.data import read_prompts
from cpt.errors import BadOptions
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt.testing import FakeAsk, PairerContract, Scripted, fake_prompts
from cpt_ladder.pairer import Ladder
from cpt_recorded.responder import Recorded

PROMPT = fake_prompts(1)[0]


def says(*texts: str, author: str = "m") -> Scripted:
    return Scripted(model=author, says=texts)


@attrs.frozen
class Failing(Scripted):
    """Never gets to an answer."""

    outcome: str = "failed"

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        said = super().answer_all(requests)
        return [attrs.evolve(answer, outcome=self.outcome, detail="why") for answer in said]


async def outcome(pairer: Pairer, prompt: Prompt = PROMPT) -> NoPair:
    with pytest.raises(NoPair) as caught:
        await pairer.pair(prompt, FakeAsk())
    return caught.value


async def pairs_of(pairer: Pairer, prompt: Prompt = PROMPT, ask: Ask | None = None) -> list[Pair]:
    """What it makes, which must be pairs and nothing else."""
    made = await pairer.pair(prompt, ask or FakeAsk())
    pairs = [pair for pair in made if isinstance(pair, Pair)]
    assert len(pairs) == len(made)
    return pairs


THREE = tuple(says(f"{name} {{id}}", author=name) for name in ("strong", "middle", "weak"))


class TestLadder(PairerContract):
    component = Ladder(rungs=THREE)


async def test_every_rung_is_above_those_below_it() -> None:
    pairs = await pairs_of(Ladder(rungs=THREE))
    assert [(p.chosen.author, p.rejected.author, p.tier, p.margin) for p in pairs] == [
        ("strong", "middle", 1, 1.0),
        ("strong", "weak", 2, 2.0),
        ("middle", "weak", 1, 1.0),
    ]


@pytest.mark.parametrize("named", ["0>2", "strong>weak", " strong > 2"])
async def test_only_the_named_rungs_meet(named: str) -> None:
    ladder = Ladder(rungs=THREE, pairs=(named,))
    (pair,) = await pairs_of(ladder)
    assert (pair.chosen.author, pair.rejected.author, pair.tier) == ("strong", "weak", 2)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"rungs": ["scripted:a"]}, "pairer.rungs: must have two models or more, got 1"),
        (
            {"pairs": ["1>0"]},
            "pairer.pairs: must be BETTER>WORSE: in '1>0' the better one is not above the worse",
        ),
        ({"pairs": ["0>2"]}, "pairer.pairs: must be BETTER>WORSE: '0>2' has a rung that is not"),
        ({"pairs": ["0"]}, "rungs are 0 to 1, or a, b"),
    ],
)
def test_a_ladder_that_cannot_be_is_refused_by_its_address(
    options: dict[str, Any], complaint: str
) -> None:
    values = {"name": "ladder", "rungs": ["scripted:a", "scripted:b"], **options}
    with pytest.raises(BadOptions) as caught:
        resolved(pairer=values)
    assert complaint in caught.value.message


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"samples": 1}, "pairer.samples: must be >= 2: 1"),
        ({"judge": {"name": "llm", "responder": "scripted", "scale": 1}}, "pairer.judge.scale: "),
        ({"responder": {"name": "lab_reviser", "fixes": 1.5}}, "pairer.responder.fixes: "),
    ],
)
def test_an_option_out_of_range_is_refused_by_its_address(
    options: dict[str, Any], complaint: str
) -> None:
    values = {"name": "rlaif", "responder": "scripted", "judge": "lab_checker", **options}
    with pytest.raises(BadOptions) as caught:
        resolved(pairer=values)
    assert caught.value.message.startswith(complaint)


def resolved(**values: Any) -> config.Config:
    """The configuration with these options, `scripted` among its responders."""
    registry = Registry.collect(load_plugins())
    registry = registry.including(Scripted)
    given = [config.Layer("a test", dict(config.flatten(values)))]
    return config.resolve(config.stack(given, registry), registry)


async def test_a_rung_without_an_answer_is_reported_and_leaves_the_others() -> None:
    rungs = (THREE[0], Failing(model="middle"), THREE[2])
    missing, pair, other = await Ladder(rungs=rungs).pair(PROMPT, FakeAsk())
    assert isinstance(pair, Pair)
    assert (pair.chosen.author, pair.rejected.author) == ("strong", "weak")
    for none in (missing, other):
        assert isinstance(none, NoPair)
        assert (none.reason, none.detail) == ("failed", "middle: why")


async def test_a_ladder_without_two_answers_says_why() -> None:
    rungs = (THREE[0], Failing(model="middle"), Failing(model="weak", outcome="cut_off"))
    none = await outcome(Ladder(rungs=rungs))
    assert (none.reason, none.detail) == ("failed", "middle: why")


async def test_a_rung_that_was_not_paid_for_is_the_outcome_of_the_prompt() -> None:
    broke = Failing(model="weak", outcome="over_budget")
    none = await outcome(Ladder(rungs=(THREE[0], THREE[1], broke)))
    assert (none.reason, none.detail) == ("over_budget", "weak: why")
    ladder = Ladder(rungs=(THREE[0], THREE[1], broke), pairs=("0>1",))
    assert len(await ladder.pair(PROMPT, FakeAsk())) == 1  # it has no part in this


DEAR = '''
"""A service whose every answer costs a dollar, and a judge of what it says."""

import attrs
import cpt


@attrs.frozen
class Dear(cpt.Service):
    """Says who it is, and for the how-manyeth time."""

    name = "dear"
    model: str
    """Who it is."""
    max_tokens: int = 1_000_000
    """Most tokens of an answer."""

    async def answer(self, prompt, sample):
        text = f"{self.model} {sample}"
        usage = cpt.Usage(output_tokens=self.max_tokens)
        return cpt.Response(prompt_id=prompt.id, text=text, author=self.model, usage=usage)

    @property
    def endpoint(self):
        return "http://dear.example/v1"


@attrs.frozen
class Latest(cpt.Judge):
    """Likes what was said last."""

    name = "latest"

    async def judge(self, prompt, responses, ask):
        return cpt.Verdict(scores=tuple(float(answer.text.split()[-1]) for answer in responses))


@cpt.hookimpl
def cpt_responders():
    return [Dear]


@cpt.hookimpl
def cpt_judges():
    return [Latest]
'''
LADDER = "--pairer ladder --pairer.rungs dear:a --pairer.rungs dear:b --pairer.rungs dear:c"
RLAIF = "--pairer rlaif --pairer.responder dear:a --pairer.samples 3 --pairer.judge latest"


@pytest.mark.parametrize(("pairer", "pairs"), [(LADDER, 6), (RLAIF, 2)])
def test_a_budget_that_lacks_one_answer_stops_and_a_larger_one_goes_on(
    pairer: str, pairs: int, cpt_cli: Callable[..., Any], tmp_path: Path
) -> None:
    """Two prompts, three answers to each, five dollars: two answers of the last make a pair."""
    (tmp_path / "dear.py").write_text(DEAR)
    (tmp_path / "prices.yaml").write_text('"*": {"*": {date: 2026-01-01, input: 0, output: 1}}')
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "A?"}\n{"prompt": "B?"}\n')
    line = f"-p dear.py pair --prompts prompts.jsonl {pairer} --prices prices.yaml --output run"
    short = cpt_cli(*line.split(), "--budget", "5.5")
    assert short.exit_code == 1, short.output
    assert "the budget is used up with 1 of 2 prompts left" in short.stderr
    outcomes = open_run(tmp_path / "run").outcomes
    assert [outcome["outcome"] for outcome in outcomes] == ["kept", "over_budget"]
    enough = cpt_cli(*line.split(), "--budget", "50")
    assert enough.exit_code == 0, enough.output
    assert f"pairs {pairs}, dropped none, outcomes (kept 2)" in enough.stdout
    assert "$6.0000" in enough.stdout or enough.stdout.count("$2.0000 for 2 answers") == 3


def test_prompts_without_pairs_are_listed_with_the_reason(
    cpt_cli: Callable[..., Any], tmp_path: Path
) -> None:
    rows = [{"prompt": name, "responses": {"a": f"{name}!", "b": "No."}} for name in "xyz"]
    rows[1]["responses"] = {"a": "", "b": "No."}
    rows[2]["responses"] = {"b": "No."}
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rungs = [word for name in "ab" for word in ("--pairer.rungs", f"recorded:rows.jsonl#{name}")]
    line = ("pair", "--prompts", "rows.jsonl", "--pairer", "ladder", *rungs, "--output", "run")
    told = cpt_cli(*line).stdout
    assert "no pair   empty: row-2; for example: a: empty (all in run/outcomes.jsonl)" in told
    assert (
        "no pair   rejected: row-3; for example: a: rows.jsonl#a has no answer to prompt 'row"
        in told
    )


def test_pairs_that_were_not_made_are_listed_with_the_reason(
    cpt_cli: Callable[..., Any], tmp_path: Path
) -> None:
    """Three authors, of whom one is silent on one prompt: two of its three pairs are missing."""
    rows = [{"prompt": name, "responses": {a: f"{name}{a}" for a in "abc"}} for name in "xy"]
    rows[1]["responses"] = {"a": "ya", "b": "", "c": "yc"}
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rungs = [word for name in "abc" for word in ("--pairer.rungs", f"recorded:rows.jsonl#{name}")]
    line = ("pair", "--prompts", "rows.jsonl", "--pairer", "ladder", *rungs, "--output", "run")
    said = cpt_cli(*line).stdout
    assert "pairs 4, dropped (empty 2), outcomes (kept 2)" in said
    assert (
        "dropped   empty: row-2, row-2; for example: b: empty (all in run/outcomes.jsonl)" in said
    )
    first, second = open_run("run").outcomes
    assert first["dropped"] == []
    assert (second["outcome"], second["pairs"]) == ("kept", 1)
    missing = {"pair": "", "reason": "empty", "detail": "b: empty"}
    assert second["dropped"] == [missing, missing]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "b: empty" in page


async def test_the_ladder_of_the_paper(published: Callable[[str], Path]) -> None:
    file = published("ladder_805.jsonl")
    authors = ("gpt4", "gpt-3.5-turbo-0301", "text_davinci_003")
    ladder = Ladder(rungs=tuple(Recorded(source=f"{file}#{author}") for author in authors))
    ask = FakeAsk()
    pairs = [pair for prompt in read_prompts(file) for pair in await pairs_of(ladder, prompt, ask)]
    differ = [pair for pair in pairs if pair.chosen.text.strip() != pair.rejected.text.strip()]
    assert len(pairs) == 2415
    assert Counter(pair.tier for pair in differ) == {2: 793, 1: 1599}
