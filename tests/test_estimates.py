"""What a run will cost before it is started, and what it did cost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from click.testing import CliRunner

from cpt import Ask, Message, Pair, Pairer, Prompt, Responder, Response, Service, Usage
from cpt.asking import Asker
from cpt.asking.journal.queries import Charge, bill
from cpt.asking.money.estimates import TYPICAL, DryRun, Estimate
from cpt.asking.money.prices import Prices
from cpt.asking.money.tokens import PER_TURN, input_tokens
from cpt.asking.options import Asking
from cpt.cli import main
from cpt_openai.responder import OpenAI


def prompts(*texts: str) -> list[Prompt]:
    return [Prompt(id=text, messages=(Message("user", text),)) for text in texts]


@attrs.frozen
class Talker(Service):
    """Answers with twenty tokens at a known price."""

    name = "talker"
    model: str

    @property
    def endpoint(self) -> str:
        return "https://api.openai.com/v1"

    async def answer(self, prompt: Prompt, sample: int) -> Response:
        usage = Usage(input_tokens=100, output_tokens=20)
        return Response(prompt_id=prompt.id, text="yes", author=self.author, usage=usage)


@attrs.frozen
class Revise(Pairer):
    """Asks one, then shows what came to another."""

    name = "revise"
    student: Responder
    reviser: Responder

    async def pair(self, prompt: Prompt, ask: Ask) -> Sequence[Pair]:
        first = await ask(self.student, prompt)
        shown = Message("user", prompt.messages[0].content + first.text)
        second = await ask(self.reviser, Prompt(id=prompt.id, messages=(shown,)))
        return [Pair(prompt=prompt, chosen=second, rejected=first)]


async def test_an_estimate_counts_every_stage_and_its_dollars() -> None:
    pairer = Revise(OpenAI("gpt-4.1-mini", max_tokens=40), OpenAI("gpt-4.1"))
    dry = DryRun(None)
    for prompt in prompts("a" * 400, "b" * 400):
        await pairer.pair(prompt, dry)
    student, reviser = (
        dry.estimates["openai:gpt-4.1-mini"],
        dry.estimates["openai:gpt-4.1"],
    )
    assert (student.requests, student.input_tokens, student.output_tokens) == (2, 208, 80)
    assert student.dollars == pytest.approx((208 * 0.4 + 80 * 1.6) / 1e6)
    assert student.most_output_tokens == 80 and not student.counted
    # The stand-in of 40 words of five letters is in what the reviser reads.
    assert reviser.input_tokens == 2 * (600 // 4 + PER_TURN)
    assert reviser.output_tokens == 2 * TYPICAL
    assert reviser.most_output_tokens is None and reviser.most_dollars is None


async def test_an_unknown_price_makes_the_sum_unknown() -> None:
    dry = DryRun(None)
    await dry(OpenAI("a-model-of-tomorrow"), prompts("a")[0])
    assert dry.estimates["openai:a-model-of-tomorrow"].dollars is None
    assert (Estimate(dollars=1.0) + Estimate(dollars=None)).dollars is None


async def test_a_batch_costs_half() -> None:
    online, batch = DryRun(None), DryRun(None, batch=True)
    for dry in (online, batch):
        await dry(OpenAI("gpt-4.1"), prompts("a")[0])
    whole, half = (dry.estimates["openai:gpt-4.1"].dollars for dry in (online, batch))
    assert whole is not None and half == pytest.approx(whole / 2)


async def test_what_the_journal_has_is_neither_asked_nor_guessed(tmp_path: Path) -> None:
    """Even while a run holds it: nothing is written."""
    journal, talker = tmp_path / "j.sqlite", Talker("gpt-4.1")
    async with Asker(journal) as ask:
        await ask(talker, prompts("a")[0])
        with DryRun(journal) as dry:
            answers = [await dry(talker, prompt) for prompt in prompts("a", "b", "b")]
    assert answers[0].text == "yes"
    estimate = dry.estimates["talker:gpt-4.1"]
    assert (estimate.known, estimate.requests, estimate.output_tokens) == (1, 1, 20)


async def test_a_model_that_is_not_made_yet_is_counted_as_one_that_is_there(tmp_path: Path) -> None:
    """The journal has no answers of it, and no two such models share one."""
    journal, (prompt,) = tmp_path / "j.sqlite", prompts("a")
    async with Asker(journal) as ask:
        await ask(Talker("gpt-4.1"), prompt)
    with DryRun(journal) as dry:
        dry.unmade = {"trained": "gpt-4.1", "control": "gpt-4.1"}
        models = ("gpt-4.1", "trained", "control", "trained")
        said = [(await dry(Talker(model), prompt)).text for model in models]
    estimate = dry.estimates["talker:gpt-4.1"]
    assert (estimate.known, estimate.requests, estimate.output_tokens) == (1, 2, 40)
    assert said[1] == said[3] and len({*said}) == 3


def test_a_model_in_a_folder_has_its_tokens_counted(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"one": 0, "two": 1, "[UNK]": 2}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    (prompt,) = prompts("one two one two one")
    assert input_tokens(str(tmp_path), [prompt.text]) == (5 + PER_TURN, True)
    assert input_tokens("a-remote-model", [prompt.text]) == (5 + PER_TURN, False)


def test_a_dry_run_tells_and_writes_nothing(tmp_path: Path) -> None:
    source = tmp_path / "prompts.jsonl"
    source.write_text('{"prompt": "One?", "response": "1"}\n{"prompt": "Two?", "response": "2"}\n')
    line = f"pair --dry-run --json --prompts {source} --output {tmp_path / 'out'} --pairer clair"
    roles = f"--pairer.student recorded:{source} --pairer.reviser openai:gpt-4.1"
    done = CliRunner().invoke(main, f"{line} {roles}".split(), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert list(told["estimates"]) == ["openai:gpt-4.1"]
    assert told["total"]["requests"] == 2 and told["total"]["dollars"] > 0
    assert not (tmp_path / "out").exists()


async def test_the_bill_is_by_stage_and_model_and_says_what_it_does_not_know(
    tmp_path: Path,
) -> None:
    journal, price = tmp_path / "j.sqlite", Prices.load().cost
    for stage, model, texts in (("pairs", "gpt-4.1", "ab"), ("scores", "of-tomorrow", "a")):
        async with Asker(journal, stage=stage, price=price, options=Asking()) as ask:
            for prompt in prompts(*texts):
                await ask(Talker(model), prompt)
    known: Any = pytest.approx(2 * (100 * 2 + 20 * 8) / 1e6)
    assert bill(journal) == [
        Charge("pairs", "gpt-4.1", 2, 200, 0, 40, known, 0),
        Charge("scores", "of-tomorrow", 1, 100, 0, 20, None, 1),
    ]
