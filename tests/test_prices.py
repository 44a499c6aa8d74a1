"""What answers cost: an unknown price is never zero, and what is known is exact."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt import CptError, Local, Prompt, Response, Usage
from cpt.asking.money.prices import MILLION, Price, Prices
from cpt_anthropic.responder import Anthropic
from cpt_openai.responder import OpenAI
from cpt_server.responder import Server

TOKENS = st.integers(0, 10**7)


@attrs.frozen
class Here(Local):
    """Answers in this process."""

    name = "here"

    def answer_all(self, requests: Sequence[tuple[Prompt, int]]) -> Sequence[Response]:
        raise NotImplementedError


def test_known_models_cost_what_their_providers_say() -> None:
    prices = Prices.load()
    used = Usage(input_tokens=MILLION, cached_tokens=400_000, output_tokens=MILLION)
    # 0.6 fresh at $2, 0.4 cached at $0.50, 1.0 out at $8.
    assert prices.cost(OpenAI("gpt-4.1"), used) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 8)
    assert prices.cost(OpenAI("gpt-4.1"), used, batch=True) == pytest.approx(1 + 4)
    assert prices.cost(Anthropic("claude-haiku-4-5"), used) == pytest.approx(0.6 + 0.04 + 5)


def test_a_dated_version_has_the_price_of_its_name() -> None:
    prices = Prices.load()
    assert prices.of(OpenAI("gpt-4.1-2025-04-14")) == prices.of(OpenAI("gpt-4.1"))
    dated, plain = Anthropic("claude-haiku-4-5-20251001"), Anthropic("claude-haiku-4-5")
    assert prices.of(dated) == prices.of(plain) is not None
    assert prices.of(OpenAI("gpt-4.1-mini")) != prices.of(OpenAI("gpt-4.1"))


def test_an_unknown_price_is_none_and_not_zero() -> None:
    prices, used = Prices.load(), Usage(input_tokens=1, output_tokens=1)
    assert prices.cost(OpenAI("a-model-of-tomorrow"), used) is None
    # The same name on somebody else's machine is billed by somebody else.
    assert prices.cost(OpenAI("gpt-4.1", base_url="http://127.0.0.1:8000/v1"), used) is None
    assert Price(input=1, output=1).cost(used, batch=True) is None
    assert prices.cost(OpenAI("gpt-4.1"), Usage()) is None, "no tokens reported is not no tokens"


def test_who_has_no_batch_endpoint_is_paid_by_the_request() -> None:
    """Else a budget would be thought to go twice as far as it does."""
    at_once = Server("gpt-4.1", base_url=("https://api.openai.com/v1",))
    prices, used = Prices.load(), Usage(input_tokens=MILLION, output_tokens=MILLION)
    assert prices.cost(at_once, used, batch=True) == prices.cost(at_once, used) == 10.0


def test_what_runs_here_costs_nothing() -> None:
    assert Prices.load().cost(Here(), Usage(input_tokens=10, output_tokens=10)) == 0.0


def test_a_users_file_lies_over_the_bundled_one(tmp_path: Path) -> None:
    own = tmp_path / "prices.yaml"
    own.write_text(
        "api.openai.com:\n  gpt-4.1: {input: 7, output: 9}\n"
        "127.0.0.1:8000:\n  '*': {input: 0, output: 0}\n"
        "'*':\n  mine: {input: 1, output: 2}\n"
    )
    prices, used = Prices.load(own), Usage(input_tokens=MILLION, output_tokens=MILLION)
    assert prices.cost(OpenAI("gpt-4.1"), used) == 16
    assert prices.cost(OpenAI("any", base_url="http://127.0.0.1:8000/v1"), used) == 0
    assert prices.cost(OpenAI("mine", base_url="https://somewhere/v1"), used) == 3
    assert prices.of(OpenAI("gpt-4.1-mini")) == Prices.load().of(OpenAI("gpt-4.1-mini"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 3", "HOST"),
        ("h: {m: 3}", "h: m: expected"),
        ("h: {m: {input: cheap, output: 1}}", "h: m: input: expected dollars"),
        ("h: {m: {input: -1, output: 1}}", "h: m: input: expected dollars"),
        ("h: {m: {input: .nan, output: 1}}", "h: m: input: expected dollars"),
        ("h: {m: {input: 1, output: .inf}}", "h: m: output: expected dollars"),
        ("h: {m: {input: 1}}", "output"),
        ("h: {m: {input: 1, output: 1, ouput: 1}}", "ouput"),
        ("h: [", "YAML"),
        (
            "h:\n  m: {input: 1, output: 1}\n  m: {input: 2, output: 1}",
            "line 3: 'm' is given twice",
        ),
    ],
)
def test_a_bad_table_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    own = tmp_path / "prices.yaml"
    own.write_text(text)
    with pytest.raises(CptError, match=words) as caught:
        Prices.load(own)
    assert str(own) in caught.value.message and "\n" not in caught.value.message


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CptError, match="No such file"):
        Prices.load(tmp_path / "none.yaml")


def test_every_bundled_price_is_dated_and_a_batch_is_never_dearer() -> None:
    for lines in Prices.load().table.values():
        for price in lines.values():
            assert price.date is not None
            assert price.cached is not None and price.cached < price.input < price.output
            assert price.batch_input is not None and price.batch_input < price.input
            assert price.batch_output is not None and price.batch_output < price.output


@given(fresh=TOKENS, cached=TOKENS, out=TOKENS, more=TOKENS)
def test_costs_add_up(fresh: int, cached: int, out: int, more: int) -> None:
    price = Price(input=2, cached=0.5, output=8, batch_input=1, batch_output=4)
    both = Usage(input_tokens=fresh + cached + more, cached_tokens=cached, output_tokens=out)
    first = Usage(input_tokens=fresh + cached, cached_tokens=cached, output_tokens=out)
    second = Usage(input_tokens=more)
    for batch in (False, True):
        costs = [price.cost(used, batch=batch) or 0.0 for used in (both, first, second)]
        assert costs[0] == pytest.approx(costs[1] + costs[2])
