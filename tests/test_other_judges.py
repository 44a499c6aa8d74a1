"""Judges that ask no model: a function, instruction checks, stored judgements; and an ensemble."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from cpt import CptError, Message, Missing, Prompt, Response, Verdict
from cpt.run.record.inputs import content_digest
from cpt.statistics import preference_of
from cpt.testing import FakeAsk, JudgeContract, Scripted
from cpt_judges.checker import Checker, load
from cpt_judges.ensemble import Ensemble
from cpt_judges.llm import Llm
from cpt_judges.pairwise import Pairwise
from cpt_judges.recorded import RecordedJudge
from cpt_judges.verifiable import Verifiable

PROMPT = Prompt(id="p", messages=(Message("user", "What is 1 plus 1?"),), info={"right": "2"})


def answers(*texts: str) -> list[Response]:
    return [Response(prompt_id="p", text=text, author=f"m{n}") for n, text in enumerate(texts)]


async def verdict(judge: Any, *texts: str, prompt: Prompt = PROMPT) -> Verdict:
    found: Verdict = await judge.judge(prompt, answers(*texts), FakeAsk())
    return found


def why(found: Verdict, place: int = 0) -> Missing:
    missing = found.score_of(place)
    assert isinstance(missing, Missing)
    return missing


CHECKS = """
def right(prompt, response):
    return prompt.info["right"] in response.text

async def length(prompt, response):
    return len(response.text) or None

def broken(prompt, response):
    return 1 / len(response.text)

def wordy(prompt, response):
    return "good"

def endless(prompt, response):
    return 10**400

def counted(prompt, response):
    import numpy as np
    return np.float32(0.5) if response.text else np.bool_(True)
"""


@pytest.fixture
def checks(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "checks.py"
    file.write_text(CHECKS)
    load.cache_clear()
    yield file
    load.cache_clear()


class TestChecker(JudgeContract):
    @pytest.fixture(autouse=True)
    def _component(self, checks: Path) -> None:
        self.component = Checker(function=f"{checks}:length")


async def test_a_function_judges(checks: Path) -> None:
    right = Checker(function=f"{checks}:right")
    right.check()
    assert (await verdict(right, "It is 2.", "It is 3.")).scores == (1.0, 0.0)
    length = await verdict(Checker(function=f"{checks}:length"), "abc", "")
    assert (length.scores, why(length, 1).reason) == ((3.0, None), "no_score")


async def test_a_function_that_fails_is_the_reason_of_that_answer(checks: Path) -> None:
    found = await verdict(Checker(function=f"{checks}:broken"), "ab", "")
    assert found.scores == (0.5, None)
    assert (why(found, 1).reason, "ZeroDivisionError" in why(found, 1).detail) == ("error", True)
    with pytest.raises(CptError, match="returned 'good' for prompt 'p'; it must return a finite"):
        await verdict(Checker(function=f"{checks}:wordy"), "x")


async def test_a_number_of_numpy_is_a_number_and_one_too_large_is_one_line(checks: Path) -> None:
    assert (await verdict(Checker(function=f"{checks}:counted"), "a", "")).scores == (0.5, 1.0)
    with pytest.raises(CptError, match=r"returned 1000.* for prompt 'p'; it must return a finite"):
        await verdict(Checker(function=f"{checks}:endless"), "x")


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        ("{file}", "expected FILE.py:FUNCTION"),
        (
            "{file}:none",
            "has no function 'none'; its functions: broken, counted, endless, length, right, wordy",
        ),
        ("nowhere.py:f", "cannot be imported .*no such file"),
        ("no_such_module_here:f", "cannot be imported .*ModuleNotFoundError"),
    ],
)
def test_a_function_that_is_not_there_is_one_line(
    function: str, complaint: str, checks: Path
) -> None:
    with pytest.raises(CptError, match=complaint):
        Checker(function=function.format(file=checks)).check()


def test_a_file_is_imported_under_a_name_of_its_own(tmp_path: Path) -> None:
    """A checker called json.py is no json, and a module of the working directory is not found."""
    file = tmp_path / "json.py"
    file.write_text("def f(prompt, response): return 1")
    Checker(function=f"{file}:f").check()
    assert sys.modules["json"] is json


def test_a_run_records_the_code_of_the_function(checks: Path) -> None:
    before = content_digest(f"{checks}:right")
    checks.write_text(CHECKS + "\n# changed\n")
    assert before
    assert content_digest(f"{checks}:right") not in (before, None)


def asks_for(*instructions: tuple[str, dict[str, Any]]) -> Prompt:
    names, kwargs = zip(*instructions, strict=True)
    info = {"instruction_id_list": list(names), "kwargs": list(kwargs)}
    return attrs.evolve(PROMPT, info=info)


WORDS = ("length_constraints:number_words", {"num_words": 3, "relation": "at least"})
NO_COMMA = ("punctuation:no_comma", {"num_words": None})


class TestVerifiable(JudgeContract):
    component = Verifiable()

    @pytest.fixture(autouse=True)
    def _needs_the_extra(self) -> None:
        pytest.importorskip("if_verifiable")

    def case(self) -> Any:
        return asks_for(WORDS, NO_COMMA), answers("one two three", "one, two", "one")


async def test_instructions_are_checked_as_ifeval_does() -> None:
    pytest.importorskip("if_verifiable")
    prompt = asks_for(WORDS, NO_COMMA)
    texts = ("one two three", "one, two and three", "one", "")
    assert (await verdict(Verifiable(), *texts, prompt=prompt)).scores == (1.0, 0.5, 0.5, 0.0)
    found = await verdict(Verifiable(score="all"), *texts, prompt=prompt)
    assert found.scores == (1.0, 0.0, 0.0, 0.0)
    as_json = attrs.evolve(prompt, info={k: json.dumps(v) for k, v in prompt.info.items()})
    assert (await verdict(Verifiable(), *texts, prompt=as_json)).scores[1] == 0.5


@pytest.mark.parametrize(
    ("instruction", "detail"),
    [
        (("no:such", {}), "IFEval has no instruction 'no:such'"),
        (("length_constraints:number_words", {}), "lacks its num_words, relation"),
        (("length_constraints:number_words", {"words": 1}), "TypeError"),
    ],
)
async def test_what_cannot_be_checked_for_certain_has_no_score(
    instruction: tuple[str, dict[str, Any]], detail: str
) -> None:
    """IFEval's rules draw an argument by lot that is not given."""
    pytest.importorskip("if_verifiable")
    found = await verdict(Verifiable(), "x", prompt=asks_for(instruction))
    assert why(found).reason == "unchecked"
    assert detail in why(found).detail


async def test_a_prompt_without_instructions_is_one_line() -> None:
    pytest.importorskip("if_verifiable")
    with pytest.raises(CptError, match="prompt 'p' names no instruction; its row needs"):
        await verdict(Verifiable(), "x")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "if_verifiable.ifeval.instructions_registry", None)
    with pytest.raises(CptError, match=r"pip install 'contrastive-post-training\[verifiable\]'"):
        Verifiable().check()


def stored(path: Path, *rows: dict[str, Any]) -> RecordedJudge:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return RecordedJudge(file=str(path))


BY_TEXT = {"id": "p", "output_1": "bad", "output_2": "good", "preference": 2}


class TestRecordedJudge(JudgeContract):
    @pytest.fixture(autouse=True)
    def _component(self, tmp_path: Path) -> None:
        texts = [answer.text for answer in self.case()[1]]
        row = {"output_1": texts[0], "output_2": texts[1], "preference": 2}
        self.component = stored(tmp_path / "a.jsonl", row)


async def test_stored_judgements_are_found_by_texts_or_by_authors(tmp_path: Path) -> None:
    by_text = stored(tmp_path / "a.jsonl", BY_TEXT)
    assert (await verdict(by_text, "good", "bad")).scores == (1.0, 0.0)
    assert (await verdict(by_text, "bad", "good")).scores == (0.0, 1.0)
    assert why(await verdict(by_text, "bad", "other")).reason == "not_recorded"
    row = {"id": "p", "model_1": "m1", "model_2": "m0", "preference": 1.25}
    by_author = stored(tmp_path / "b.jsonl", row)
    assert (await verdict(by_author, "x", "y")).scores == (0.25, 0.75)
    unread = stored(tmp_path / "c.jsonl", {**BY_TEXT, "preference": None})
    assert (await verdict(unread, "good", "bad")).scores == (None, None)


def grades(said: str) -> Llm:
    return Llm(responder=Scripted(says=(said,)))


@attrs.frozen
class Says(Scripted):
    """Grades by the text that is asked about."""

    name = "says"
    high: str = ""

    def answer_all(self, requests: Any) -> Any:
        return [
            Response(
                prompt_id=prompt.id,
                text="?" if not self.high else f"Score: {9 if self.high in prompt.text else 2}",
                author="j",
            )
            for prompt, _ in requests
        ]


def likes(word: str) -> Llm:
    return Llm(responder=Says(high=word))


class TestEnsemble(JudgeContract):
    component = Ensemble(judges=(grades("Score: 3"), grades("Score: 9")))


async def test_the_majority_prefers_whatever_the_scales() -> None:
    three = Ensemble(judges=(likes("zebra"), likes("zebra"), likes("llama")))
    found = await verdict(three, "a zebra", "a llama")
    assert found.scores == pytest.approx((2 / 3, 1 / 3))
    assert found.info["judges_agree"] == pytest.approx(1 / 3)
    assert found.info["judges"][2] == {"judge": "llm", "scores": [2.0, 9.0]}
    assert found.about(0, 1)["judges"] == found.info["judges"]


async def test_the_mean_needs_every_judge() -> None:
    mean = Ensemble(judges=(likes("zebra"), likes("llama")), rule="mean")
    assert (await verdict(mean, "zebra", "llama", "zebra and llama")).scores == (5.5, 5.5, 9.0)
    unsure = Ensemble(judges=(likes("zebra"), likes("")), rule="mean")
    found = await verdict(unsure, "zebra", "mule")
    assert (found.scores, why(found).reason) == ((None, None), "unread")


async def test_half_of_the_judges_is_no_majority() -> None:
    half = Ensemble(judges=(likes("zebra"), likes("")))
    assert (await verdict(half, "zebra", "mule")).scores == (None, None)
    most = Ensemble(judges=(likes("zebra"), likes("zebra"), likes("")))
    assert (await verdict(most, "zebra", "mule")).scores == (1.0, 0.0)


async def test_an_ensemble_of_pairwise_judges_keeps_their_comparisons() -> None:
    always_first = Pairwise(responder=Scripted(says=("[[A]]",)))
    found = await verdict(Ensemble(judges=(always_first, likes("zebra"))), "zebra", "mule")
    assert found.scores == (0.75, 0.25)
    assert preference_of(found) == 0.75
    assert len(found.comparisons) == 2


def test_one_judge_is_no_ensemble() -> None:
    with pytest.raises(ValueError, match="judges"):
        Ensemble(judges=(grades("x"),))
