"""Judges, and the pairs that come of their scores."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

import cpt_judges
from cpt import CptError, Message, Missing, NoPair, Prompt, Responder, Response, Verdict
from cpt.asking import Asker
from cpt.testing import (
    EvaluatorContract,
    FakeAsk,
    JudgeContract,
    PairerContract,
    Scripted,
    fake_prompts,
)
from cpt_judges import reward_model as reward_models
from cpt_judges.judged import Judged
from cpt_judges.llm import Llm
from cpt_judges.reward_model import RewardModel, Scorer, answered
from cpt_scored.judged import Rlaif

PROMPT = fake_prompts(1)[0]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CPT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@attrs.frozen
class Grading(Scripted):
    """Says its first text about an answer that holds `s0`, its second about one with `s1`, ..."""

    name = "grading"

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        return [
            Response(prompt_id=prompt.id, text=self._grade(prompt.text), author="judge")
            for prompt, _ in requests
        ]

    def _grade(self, asked: str) -> str:
        return next(said for number, said in enumerate(self.says) if f"s{number}" in asked)


def grades(*said: str) -> Llm:
    return Llm(responder=Grading(says=said))


def answers(count: int) -> list[Response]:
    return [
        Response(prompt_id=PROMPT.id, text=f"The answer s{number}.", author="m")
        for number in range(count)
    ]


class TestLlm(JudgeContract):
    component = Llm(responder=Scripted(says=("It is good.\nScore: 7",)))


async def test_each_answer_is_graded_by_itself() -> None:
    verdict = await grades("Good.\nScore: 8", "Score: 3", "I cannot say.").judge(
        PROMPT, answers(3), FakeAsk()
    )
    assert verdict.scores == (8.0, 3.0, None)
    assert verdict.raw == ("Good.\nScore: 8", "Score: 3", "I cannot say.")


async def test_a_text_that_was_cut_off_gives_no_score() -> None:
    """Its last number may be half of one."""
    verdict = await Llm(responder=Ending(outcome="cut_off")).judge(PROMPT, answers(1), FakeAsk())
    assert verdict.scores == (None,)
    assert verdict.missing == (Missing("cut_off", "the judge fake: length", "Score: 1"),)


async def test_an_unread_text_is_kept_with_its_reason() -> None:
    verdict = await grades("Score: 8", "I cannot say.").judge(PROMPT, answers(2), FakeAsk())
    assert verdict.missing[0] is None
    assert verdict.score_of(0) == 8.0
    assert verdict.score_of(1) == Missing(
        "unread", "no score from 1 to 10 can be read in what judge wrote", "I cannot say."
    )


async def test_a_judge_is_asked_again_as_often_as_it_may() -> None:
    asked: list[int] = []

    async def ask(responder: Responder, prompt: Prompt, sample: int = 0) -> Response:
        asked.append(sample)
        text = "Score: 6" if sample == 2 else "Hm."
        return Response(prompt_id=prompt.id, text=text, author="judge")

    judge = Llm(responder=Scripted(), tries=2)
    assert (await judge.judge(PROMPT, answers(1), ask)).scores == (None,)
    assert (await attrs.evolve(judge, tries=9).judge(PROMPT, answers(1), ask)).scores == (6.0,)
    assert asked == [0, 1, 0, 1, 2]


async def test_a_judge_that_is_not_there_is_no_bad_grade() -> None:
    @attrs.frozen
    class Absent(Scripted):
        def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
            said = Scripted().answer_all(requests)
            return [attrs.evolve(answer, outcome="over_budget") for answer in said]

    with pytest.raises(NoPair, match="over_budget"):
        await Llm(responder=Absent()).judge(PROMPT, answers(1), FakeAsk())


def test_a_scale_has_two_ends() -> None:
    with pytest.raises(ValueError, match="'scale' must be >= 2"):
        Llm(responder=Scripted(), scale=1)


@attrs.frozen
class Ending(Scripted):
    """Writes a score, and ends in some way."""

    name = "ending"
    outcome: str = "answered"

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        return [
            Response(
                prompt_id=prompt.id,
                text="Score: 1",
                author="fake",
                outcome=self.outcome,
                finish_reason="length",
            )
            for prompt, _ in requests
        ]


FOUR = Scripted(says=("s0", "s1", "s2", "s3"))


class TestRlaif(PairerContract):
    component = Rlaif(responder=FOUR, judge=grades("Score: 3", "Score: 9", "Score: 2", "Score: 5"))


async def test_the_best_is_preferred_to_the_worst() -> None:
    (pair,) = await TestRlaif.component.pair(PROMPT, FakeAsk())
    assert (pair.chosen.text, pair.rejected.text) == ("s1", "s2")
    assert (pair.chosen_score, pair.rejected_score, pair.margin) == (9.0, 2.0, 7.0)
    assert (pair.tier, pair.info["rule"]) == (3, "best_worst")
    assert (pair.info["judge"], pair.info["judge_models"]) == ("llm", ["scripted"])
    assert pair.info["scores"] == [3.0, 9.0, 2.0, 5.0]
    assert pair.info["authors"] == ["scripted"] * 4


@pytest.mark.parametrize(
    ("said", "gap", "reason"),
    [
        (("Score: 5",) * 4, 0.0, "tie"),
        (("Score: 5", "Score: 6", "Score: 5", "Score: 6"), 2.0, "small_gap"),
        (("Score: 5", "good", "bad", "fine"), 0.0, "unparsed"),
    ],
)
async def test_no_preference_says_why(said: tuple[str, ...], gap: float, reason: str) -> None:
    with pytest.raises(NoPair) as caught:
        await Rlaif(responder=FOUR, judge=grades(*said), minimum_gap=gap).pair(PROMPT, FakeAsk())
    assert caught.value.reason == reason


async def test_an_unreadable_score_leaves_the_others() -> None:
    judge = grades("Score: 5", "?", "Score: 6", "?")
    (pair,) = await Rlaif(responder=FOUR, judge=judge).pair(PROMPT, FakeAsk())
    assert (pair.chosen.text, pair.rejected.text) == ("s2", "s0")


async def test_an_answer_that_was_not_paid_for_is_the_fate_of_the_prompt() -> None:
    async def ask(responder: Responder, prompt: Prompt, sample: int = 0) -> Response:
        answer = answers(4)[sample]
        return attrs.evolve(answer, outcome="over_budget") if sample == 3 else answer

    with pytest.raises(NoPair) as caught:
        await TestRlaif.component.pair(PROMPT, ask)
    assert caught.value.reason == "over_budget"


def test_one_answer_is_no_choice() -> None:
    with pytest.raises(ValueError, match="'samples' must be >= 2"):
        Rlaif(responder=FOUR, judge=grades("Score: 1"), samples=1)


class TestJudged(EvaluatorContract):
    component = Judged(judge=Llm(responder=Scripted(says=("Score: 7",))))


@attrs.frozen
class Moody(Scripted):
    """Says something else when it is sampled."""

    name = "moody"

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        said = "s1 by {id}" if self.temperature else "s0 by {id}"
        return Scripted(says=(said,)).answer_all(requests)


@attrs.frozen
class Table(Scripted):
    """Grades what `Moody` says."""

    name = "table"

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        grade = {"p0": 2, "p1": 4, "p2": 6}
        return [
            Response(
                prompt_id=prompt.id,
                text=f"Score: {9 if 's0' in prompt.text else grade[prompt.id]}",
                author="judge",
            )
            for prompt, _ in requests
        ]


async def test_the_mean_and_its_interval() -> None:
    judged = Judged(judge=Llm(responder=Table()))
    found = await judged.evaluate(Moody(), fake_prompts(3), FakeAsk())
    sampled, greedy = found["sampled"], found["greedy"]
    assert sampled.each == {"p0": 2.0, "p1": 4.0, "p2": 6.0}
    assert sampled.value == 4.0
    assert sampled.high - sampled.value == pytest.approx(1.96 * 2 / 3**0.5)
    assert (greedy.low, greedy.value, greedy.high) == (9.0, 9.0, 9.0)
    warm = attrs.evolve(judged, temperatures=(0.7, 0.0))
    assert (await warm.evaluate(Moody(), fake_prompts(3), FakeAsk())).keys() == {"T=0.7", "greedy"}


async def test_a_judge_that_says_nothing_is_an_error() -> None:
    judged = Judged(judge=Llm(responder=Scripted(says=("No idea.",))))
    with pytest.raises(CptError, match="scored none of the 3 answers"):
        await judged.evaluate(Scripted(), fake_prompts(3), FakeAsk())


TEMPLATE = (
    "{% for m in messages %}{{ m['role'][0] }} {{ m['content'] }} {{ eos_token }}{% endfor %}"
)


def reward_model(
    folder: Path, *, pad: int | None = None, labels: int = 1, template: str | None = TEMPLATE
) -> Path:
    """A tiny classifier with a tokenizer of words, whose pad token is EOS."""
    words = [
        "<unk>",
        "</s>",
        *[
            "u",
            "a",
            "What",
            "is",
            "plus",
            "?",
            ".",
            "The",
            "answer",
            "to",
            "Answer",
            "0",
            "1",
            "2",
            "s0",
            "s1",
        ],
    ]
    core = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, "<unk>"))
    core.pre_tokenizer = Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="</s>", pad_token="</s>", unk_token="<unk>"
    )
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=labels,
        pad_token_id=pad,
        eos_token_id=1,
        bos_token_id=None,
        initializer_range=0.5,
        max_position_embeddings=64,
    )
    LlamaForSequenceClassification(config).save_pretrained(folder)
    return folder


def encoder(folder: Path) -> Path:
    """A tiny encoder that sees which text a token is of; its tokenizer has no EOS and no template.

    As RoBERTa does, it counts positions from its padding on: of 66, texts have 64.
    """
    words = ["[PAD]", "[CLS]", "[SEP]", "<unk>", "What", "is", "0", "plus", "1", "?", "answer"]
    core = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, "<unk>"))
    core.pre_tokenizer = Whitespace()
    core.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 1), ("[SEP]", 2)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="<unk>",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = RobertaConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_labels=1,
        type_vocab_size=2,
        pad_token_id=0,
        max_position_embeddings=65,
        initializer_range=0.5,
    )
    RobertaForSequenceClassification(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return reward_model(tmp_path_factory.mktemp("models") / "reward")


class TestRewardModel(JudgeContract):
    @pytest.fixture(autouse=True)
    def _component(self, classifier: Path) -> None:
        self.component = RewardModel(model=str(classifier))


VARIED = [
    "0",
    "The answer to 0 plus 1 is 1 .",
    "The answer . " * 9,
    "2 2 2",
    "a u What is ?",
]


def conversations() -> list[tuple[Prompt, int]]:
    said = [Response(prompt_id="p0", text=text, author="m") for text in VARIED]
    return [(answered(PROMPT, answer), 0) for answer in said]


def scores(model: Path, batch_tokens: int = 4096) -> list[float]:
    scorer = Scorer(model=str(model), dtype="auto", device="cpu", batch_tokens=batch_tokens)
    return [float(answer.text) for answer in scorer.answer_all(conversations())]


def test_models_that_were_asked_are_let_go_when_a_stage_ends(classifier: Path) -> None:
    scores(classifier)
    assert reward_models._load.cache_info().currsize
    cpt_judges.cpt_stage_ended()
    assert not reward_models._load.cache_info().currsize


@pytest.mark.parametrize("pad", [None, 1, 0])
def test_company_changes_no_score(pad: int | None, tmp_path: Path) -> None:
    """Neither padding nor batches count, whatever the model pads with: none, EOS or its own."""
    model = reward_model(tmp_path / "model", pad=pad)
    together = scores(model)
    assert scores(model, batch_tokens=1) == pytest.approx(together, abs=1e-5)
    assert scores(model, batch_tokens=60) == pytest.approx(together, abs=1e-5)
    assert len(set(together)) == len(VARIED)


def test_the_score_is_the_models_own(classifier: Path) -> None:
    """As the classifier gives it for one conversation, without padding, at its last token."""
    tokenizer = AutoTokenizer.from_pretrained(classifier)
    model = AutoModelForSequenceClassification.from_pretrained(classifier).eval()
    for (prompt, _), found in zip(conversations(), scores(classifier), strict=True):
        chat = [attrs.asdict(turn) for turn in prompt.messages]
        text = tokenizer.apply_chat_template(chat, tokenize=False)
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            assert found == pytest.approx(model(input_ids=ids).logits.item(), abs=1e-5)


def said(*texts: str) -> list[Response]:
    return [Response(prompt_id=PROMPT.id, text=text, author="m") for text in texts]


async def test_without_a_template_it_reads_the_tokenizers_own_pair(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = encoder(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    texts = ["The answer is 1 .", "0 ?"]
    judge = RewardModel(model=str(folder), device="cpu")
    found = await judge.judge(PROMPT, said(*texts), FakeAsk())
    await judge.judge(PROMPT, said(*texts), FakeAsk())
    for text, score in zip(texts, found.scores, strict=True):
        both = tokenizer(PROMPT.text, text, return_tensors="pt")
        assert both.token_type_ids.any()
        with torch.no_grad():
            assert score == pytest.approx(model(**both).logits.item(), abs=1e-5)
    lines = [record.message for record in caplog.records if "own pair of texts" in record.message]
    assert len(lines) == 1
    assert str(folder) in lines[0]


def test_scores_of_another_format_are_others(tmp_path: Path) -> None:
    """What was kept of a model without a template, when it was read otherwise, is not found."""
    plain, templated = (
        Scorer(
            model=str(reward_model(tmp_path / str(bool(template)), template=template)),
            dtype="auto",
            device="cpu",
            batch_tokens=9,
        ).identity
        for template in (None, TEMPLATE)
    )
    assert plain["format"] == "pair"
    assert "format" not in templated


@pytest.mark.parametrize("make", [reward_model, encoder])
async def test_an_overlong_answer_gets_no_score_and_the_others_theirs(
    make: Callable[[Path], Path], tmp_path: Path
) -> None:
    model = str(make(tmp_path / "model"))
    fits = said("The answer .", "1 " * 40)
    judge = RewardModel(model=model, device="cpu")
    alone = (await judge.judge(PROMPT, fits, FakeAsk())).scores
    verdict = await judge.judge(PROMPT, [*fits, *said("1 " * 60, "1 " * 300)], FakeAsk())
    assert verdict.scores == (*(pytest.approx(score, abs=1e-5) for score in alone), None, None)
    for why in verdict.missing[2:]:
        assert why is not None
        assert why.reason == "rejected"
        assert why.detail.endswith("tokens are more than the model's 64 positions")


async def test_a_conversation_that_the_template_refuses_gets_no_score(tmp_path: Path) -> None:
    refusing = "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    model = reward_model(tmp_path / "reward", template=refusing + TEMPLATE)
    judge, ask = RewardModel(model=str(model), device="cpu"), FakeAsk()
    system = attrs.evolve(PROMPT, messages=(Message("system", "0"), *PROMPT.messages))
    one, two = await asyncio.gather(*(judge.judge(p, said("1"), ask) for p in (PROMPT, system)))
    assert isinstance(one.score_of(0), float)
    assert two.score_of(0) == Missing(
        "rejected", "reward: the chat template refuses it (no system)"
    )


async def test_a_reward_that_is_no_number_is_none(tmp_path: Path) -> None:
    folder = reward_model(tmp_path / "model")
    model = LlamaForSequenceClassification.from_pretrained(folder)
    model.score.weight.data.fill_(float("nan"))
    model.save_pretrained(folder)
    verdict = await RewardModel(model=str(folder), device="cpu").judge(PROMPT, said("1"), FakeAsk())
    why = verdict.score_of(0)
    assert isinstance(why, Missing)
    assert "the reward is nan, not a finite number" in why.detail


async def test_calls_at_once_are_computed_together_and_never_again(
    classifier: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    original = Scorer.answer_all

    def counted(self: Scorer, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        sizes.append(len(requests))
        return original(self, requests)

    monkeypatch.setattr(Scorer, "answer_all", counted)
    judge, prompts = RewardModel(model=str(classifier)), fake_prompts(20)

    async def verdicts() -> list[Verdict]:
        async with Asker(tmp_path / "journal.sqlite") as ask:
            return await asyncio.gather(
                *(judge.judge(prompt, answers(2), ask) for prompt in prompts)
            )

    first = await verdicts()
    assert sum(sizes) == 40
    assert len(sizes) <= 4
    assert await verdicts() == first
    assert sum(sizes) == 40, "a score that is in the journal was computed again"


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda folder: reward_model(folder, labels=3), "has 3 outputs"),
        (Path.mkdir, r"no config\.json"),
    ],
)
async def test_what_is_no_reward_model(
    make: Callable[[Path], Any], complaint: str, tmp_path: Path
) -> None:
    make(tmp_path / "model")
    judge = RewardModel(model=str(tmp_path / "model"))
    with pytest.raises(CptError, match=complaint):
        judge.check()
        await judge.judge(PROMPT, answers(1), FakeAsk())
