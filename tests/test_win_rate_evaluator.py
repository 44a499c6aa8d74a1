"""The evaluator `win_rate`: a model against an opponent, judged in both orders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest

import cpt
from cpt.data import read_annotations, write_outputs
from cpt.errors import CptError
from cpt.matches import both_orders, figures
from cpt.testing import EvaluatorContract, FakeAsk, Scripted, fake_prompts
from cpt.types import Missing
from cpt_recorded.responder import Recorded
from cpt_winrate.evaluator import WinRate

from .plugins.likes import Likes

PROMPTS = fake_prompts(12)
SHORT = Scripted(model="short", says=("Yes.",))
LONG = Scripted(model="long", says=("Yes, it is, of course.",))


class TestWinRate(EvaluatorContract):
    component = WinRate(judge=Likes(), opponent=SHORT)


@attrs.frozen
class Half(Likes):
    """Read about every second prompt."""

    name = "half"

    async def judge(self, prompt: Any, responses: Any, ask: Any) -> cpt.Verdict:
        if int(prompt.id.removeprefix("p")) % 2:
            return cpt.Verdict(scores=(None, 1.0), missing=(Missing("unread", "mumbled"), None))
        return await Likes().judge(prompt, responses, ask)


async def scores(win_rate: WinRate, model: cpt.Responder = LONG, base: cpt.Responder = SHORT):
    evaluation = cpt.Evaluation(model=model, base=base, prompts=PROMPTS)
    return await win_rate.measure(evaluation, FakeAsk())


async def test_the_opponent_is_the_model_before_training_if_none_is_named() -> None:
    after = await scores(WinRate(judge=Likes()))
    assert (after["raw"].value, after["discrete"].value, after["ties"].value) == (100, 100, 0)
    before = await scores(WinRate(judge=Likes()), model=SHORT)
    assert (before["raw"].value, before["lc"].value, before["ties"].value) == (50, 50, 100)
    lost = await scores(WinRate(judge=Likes(), opponent=LONG), model=SHORT, base=LONG)
    assert lost["raw"].value == 0


async def test_what_length_explains_is_beside_it() -> None:
    found = await scores(WinRate(judge=Likes()))
    assert found["length_only"].value == found["longer_preferred"].value == 100
    assert found["lc"].each == {}


async def test_a_judge_that_likes_a_place_is_seen_and_decides_nothing() -> None:
    found = await scores(WinRate(judge=Likes(first=True)))
    assert (found["raw"].value, found["ties"].value) == (50, 100)
    assert found["position_bias"].value == 100
    assert "longer_preferred" not in found


async def test_what_cannot_be_read_is_missing_with_its_reason() -> None:
    found = (await scores(WinRate(judge=Half())))["raw"]
    assert (found.n, found.of) == (6, 12)
    assert {why.reason for why in found.missing.values()} == {"unread"}
    mute = Scripted(model="mute", says=("no!",))
    with pytest.raises(CptError, match="compared none of the 12 answers of mute"):
        await scores(WinRate(judge=Likes()), model=mute)


async def test_one_prompt_has_no_interval_and_few_have_no_rate_at_equal_length() -> None:
    evaluation = cpt.Evaluation(model=LONG, base=SHORT, prompts=PROMPTS[:1])
    found = await WinRate(judge=Likes()).measure(evaluation, FakeAsk())
    assert found["raw"].low == -float("inf")
    assert "lc" not in found


async def test_it_may_be_measured_against_recorded_answers(tmp_path: Path) -> None:
    said = await FakeAsk()(SHORT, PROMPTS[0])
    outputs = tmp_path / "rung.json"
    write_outputs(outputs, ((prompt, said) for prompt in PROMPTS[:11]))
    found = await scores(WinRate(judge=Likes(), opponent=Recorded(source=str(outputs))))
    assert (found["raw"].value, found["raw"].n, found["raw"].of) == (100, 11, 12)


async def test_annotations_are_kept_and_give_the_same_figures(tmp_path: Path) -> None:
    found = await scores(WinRate(judge=Half(), save=str(tmp_path)))
    kept = read_annotations(tmp_path / "long" / "annotations.json")
    stored = figures(kept)
    assert stored.win_rate == found["raw"].value
    assert (stored.n_total, stored.model, stored.baseline) == (6, "long", "short")
    outputs = json.loads((tmp_path / "long" / "model_outputs.json").read_text())
    assert outputs[0]["generator"] == "long"


async def test_alpaca_evals_files_come_together(tmp_path: Path) -> None:
    with pytest.raises(CptError, match="given together"):
        WinRate(judge=Likes(), difficulty="x.csv").check()


async def test_an_order_that_cannot_be_read_makes_no_match() -> None:
    one, other = (cpt.Response(prompt_id="p", text=text, author="x") for text in ("a", "b!"))
    with pytest.raises(cpt.NoPair, match="unread"):
        await both_orders(Likes(), PROMPTS[0], one, other, FakeAsk())


async def test_a_judge_of_pairs_gives_its_probabilities_and_is_called_once() -> None:
    calls = []

    @attrs.frozen
    class Sure(cpt.Judge):
        name = "sure"

        async def judge(self, prompt: Any, responses: Any, ask: Any) -> cpt.Verdict:
            calls.append(prompt.id)
            shown = [
                cpt.Comparison(first=0, second=1, first_wins=0.9),
                cpt.Comparison(first=1, second=0, first_wins=0.3),
            ]
            return cpt.Verdict(scores=(0.8, 0.2), comparisons=tuple(shown))

    found = await scores(WinRate(judge=Sure()))
    assert (found["raw"].value, found["discrete"].value) == (pytest.approx(80), 100)
    assert found["position_bias"].value == pytest.approx(20)
    assert calls == [prompt.id for prompt in PROMPTS]


async def test_the_judge_pairwise_compares_in_both_orders() -> None:
    from cpt_judges.pairwise import Pairwise

    judge = Pairwise(responder=Scripted(says=("I prefer [[A]]",)), form="text")
    found = await scores(WinRate(judge=judge))
    assert (found["raw"].value, found["position_bias"].value) == (50, 100)


async def test_arena_hards_grades_are_weighted_and_kept(tmp_path: Path) -> None:
    from cpt_judges.pairwise import Pairwise

    judge = Pairwise(responder=Scripted(says=("[[A>>B]]",)), grades=5)
    found = await scores(WinRate(judge=judge, save=str(tmp_path)))
    assert (found["weighted"].value, found["position_bias"].value) == (50, 100)
    kept = figures(read_annotations(tmp_path / "long" / "annotations.json"))
    assert kept.weighted_win_rate == 50
