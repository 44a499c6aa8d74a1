"""Pairs of several pairers, in given parts."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from cpt import NoPair, Prompt, open_run, read_pairs
from cpt.testing import FakeAsk, PairerContract, Scripted, fake_prompts
from cpt_ladder.stronger import Stronger
from cpt_mix.pairer import Mix

PARTS = tuple(
    Stronger(stronger=Scripted(model=f"strong {name}"), student=Scripted(model=name, says=(name,)))
    for name in "abc"
)


class TestMix(PairerContract):
    component = Mix(pairers=PARTS[:2])


async def parts_of(mix: Mix, prompts: list[Prompt]) -> dict[str, Any]:
    """The part of every prompt that gave a pair."""
    found = {}
    for prompt in prompts:
        try:
            (pair,) = await mix.pair(prompt, FakeAsk())
        except NoPair as none:
            found[prompt.id] = none.reason
        else:
            assert not isinstance(pair, NoPair)
            assert (pair.pairer, pair.info["part_pairer"]) == ("mix", "stronger")
            assert pair.rejected.author == "abc"[int(pair.info["part"])]
            found[prompt.id] = pair.info["part"]
    return found


async def test_parts_are_drawn_by_weight_and_by_prompt_alone() -> None:
    mix = Mix(pairers=PARTS, weights=(0.5, 0.3, 0.2))
    prompts = fake_prompts(1000)
    found = await parts_of(mix, prompts)
    counts = Counter(found.values())
    for part, weight in enumerate(mix.weights):
        assert abs(counts[part] / 1000 - weight) < 0.05
    again = await parts_of(mix, prompts[::-7])
    assert again == {name: found[name] for name in again}
    other = await parts_of(attrs.evolve(mix, seed=1), prompts[:50])
    assert other != {name: found[name] for name in other}


async def test_without_weights_parts_are_equal() -> None:
    counts = Counter((await parts_of(Mix(pairers=PARTS), fake_prompts(900))).values())
    assert all(abs(count - 300) < 50 for count in counts.values())


async def test_a_column_says_the_part() -> None:
    by_number = Mix(pairers=PARTS[:2], by="turn", values=("1", "*"))
    prompts = [
        attrs.evolve(prompt, info={"turn": turn, "language": "en"})
        for prompt, turn in zip(fake_prompts(3), (1, 2, "x"), strict=True)
    ]
    made = [await by_number.pair(prompt, FakeAsk()) for prompt in prompts]
    pairs = [pair for one in made for pair in one if not isinstance(pair, NoPair)]
    assert [pair.rejected.author for pair in pairs] == ["a", "b", "b"]
    assert [pair.info["part"] for pair in pairs] == ["1", "*", "*"]
    assert pairs[0].prompt.info == {"turn": 1, "language": "en"}
    strict = attrs.evolve(by_number, values=("1", "2"))
    with pytest.raises(NoPair, match="no_part: its turn is 'x'; the parts are 1, 2"):
        await strict.pair(prompts[2], FakeAsk())


async def test_a_share_of_a_part_is_kept() -> None:
    mix = Mix(pairers=PARTS[:2], by="round", values=("1", "2"), keep=(0.25, 1))
    prompts = [
        attrs.evolve(prompt, info={"round": 1 + number % 2})
        for number, prompt in enumerate(fake_prompts(800))
    ]
    reasons: Counter[str] = Counter()
    for prompt in prompts:
        try:
            (pair,) = await mix.pair(prompt, FakeAsk())
            assert not isinstance(pair, NoPair)
            reasons[str(pair.info["part"])] += 1
        except NoPair as none:
            reasons[none.reason] += 1
    assert reasons["2"] == 400
    assert abs(reasons["1"] - 100) < 35
    assert reasons["left_out"] == 400 - reasons["1"]


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"weights": (0.5, 0.4)}, "'weights' must be above 0 and add up to 1, got 0.5, 0.4"),
        ({"weights": (1.0, 0.0)}, "'weights' must be above 0 and add up to 1, got 1, 0"),
        ({"weights": (1.0,)}, "'weights' must be one for each of 2 pairers, got 1"),
        ({"weights": (0.5, 0.5), "by": "x", "values": ("a", "b")}, "'weights' must be left out"),
        ({"by": "x"}, "'values' must be given together with `by`"),
        ({"values": ("a", "b")}, "'values' must be given together with `by`"),
        ({"by": "x", "values": ("a", "a")}, "'values' must differ, got a, a"),
        ({"keep": (0.5, 0.0)}, "'keep' must be above 0 and at most 1, got 0.5, 0"),
    ],
)
def test_parts_that_cannot_be_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Mix(pairers=PARTS[:2], **options)


def test_a_round_with_replay(cpt_cli: Callable[..., Any], tmp_path: Path) -> None:
    """Pairs of the first round are a part of the second, some of them, and keep their scores."""
    rows = [
        {"prompt": f"{number}?", "round": 1 + number // 4}
        | {"responses": {"good": f"{number}.", "bad": "?"}}
        for number in range(8)
    ]
    (tmp_path / "one.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[:4]))
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ladder = [
        *("ladder", "--pairer.rungs", "recorded:one.jsonl#good"),
        *("--pairer.rungs", "recorded:one.jsonl#bad"),
    ]
    first = cpt_cli("pair", "--prompts", "one.jsonl", "--pairer", *ladder, "--output", "one")
    assert first.exit_code == 0, first.output
    mixed = [
        *("--pairer", "mix", "--pairer.pairers", "human:one/pairs.parquet"),
        *("--pairer.pairers", "stronger", "--pairer.by", "round"),
        *("--pairer.pairers.1.stronger", "recorded:two.jsonl#good"),
        *("--pairer.pairers.1.student", "recorded:two.jsonl#bad"),
        *("--pairer.values", "1", "--pairer.values", "2"),
        *("--pairer.keep", "0.5", "--pairer.keep", "1"),
    ]
    second = cpt_cli("pair", "--prompts", "two.jsonl", *mixed, "--output", "two")
    assert second.exit_code == 0, second.output
    outcomes = Counter(one["outcome"] for one in open_run("two").outcomes)
    pairs = read_pairs("two")
    assert outcomes["kept"] == len(pairs) and 4 < len(pairs) < 8
    assert outcomes["left_out"] == 8 - len(pairs)
    replayed = [pair for pair in pairs if pair.info["part"] == "1"]
    assert {pair.info["pairer"] for pair in replayed} == {"ladder"}
    assert {pair.margin for pair in replayed} == {1.0}
    assert {pair.prompt.info["round"] for pair in pairs} == {1, 2}
    wrong = cpt_cli(
        *("pair", "--prompts", "two.jsonl", "--pairer", "mix", "--output", "no"),
        *("--pairer.pairers", "human", "--pairer.pairers", "human"),
        *("--pairer.weights", "0.5", "--pairer.weights", "0.6"),
    )
    assert (wrong.exit_code, wrong.stderr.count("\n")) == (2, 1)
    assert "pairer.weights: must be above 0 and add up to 1, got 0.5, 0.6" in wrong.stderr
