"""What is written is what is read, whatever it says."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt import Message, Pair, Prompt, Response, Usage
from cpt.data import (
    read_pairs,
    read_prompts,
    read_responses,
    write_pairs,
    write_prompts,
    write_responses,
)

texts = st.text(min_size=1).filter(str.strip)
questions = st.builds(Message, st.just("user"), texts)
short = st.text(max_size=200)  # what a table of pairs keeps of a prompt's info
plain = st.dictionaries(
    short, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | short, max_size=3
)
prompts = st.builds(
    Prompt,
    id=texts,
    messages=st.builds(
        lambda before, last: (*before, last),
        st.lists(st.builds(Message, st.sampled_from(["system", "user", "assistant"]), st.text())),
        questions,
    ),
    info=plain,
)
responses = st.builds(
    Response,
    prompt_id=st.just(""),
    text=st.text(),
    author=st.text(),
    outcome=st.sampled_from(["answered", "cut_off", "failed"]),
    finish_reason=st.text(),
    detail=st.text(),
    usage=st.builds(Usage, input_tokens=st.integers(0, 9), output_tokens=st.integers(0, 9)),
    info=plain,
)


numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def a_pair(draw: st.DrawFn) -> Pair:
    prompt = draw(prompts)
    chosen, rejected = (
        attrs.evolve(draw(responses), prompt_id=prompt.id) for _ in ("chosen", "rejected")
    )
    scores = draw(st.tuples(numbers, numbers))
    return Pair(
        id=draw(texts),
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        pairer=draw(st.text()),
        tier=draw(st.integers(0, 5)),
        margin=draw(st.floats(0, 9)) if None not in scores else draw(numbers),
        chosen_score=scores[0],
        rejected_score=scores[1],
        weight=draw(st.floats(0.1, 2)),
        rationale=draw(st.text()),
        info=draw(plain),
    )


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@given(made=st.lists(a_pair(), min_size=1, max_size=5, unique_by=lambda pair: pair.id))
def test_pairs_come_back(
    suffix: str, made: list[Pair], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("pairs") / f"pairs{suffix}"
    assert write_pairs(path, iter(made)) == len(made)
    assert read_pairs(path) == made


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@given(made=st.lists(prompts, min_size=1, unique_by=lambda prompt: prompt.id))
def test_prompts_come_back(
    suffix: str, made: list[Prompt], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("prompts") / f"prompts{suffix}"
    assert write_prompts(path, iter(made)) == len(made)
    assert list(read_prompts(path)) == made


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@given(made=st.lists(st.tuples(prompts, responses), min_size=1))
def test_responses_come_back(
    suffix: str, made: list[tuple[Prompt, Response]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("responses") / f"responses{suffix}"
    assert write_responses(path, iter(made)) == len(made)
    assert [(prompt, response.text) for prompt, response in read_responses(path)] == [
        (prompt, response.text) for prompt, response in made
    ]
    for (prompt, response), (_, original) in zip(read_responses(path), made, strict=True):
        assert response.prompt_id == prompt.id
        assert (response.author, response.outcome, response.usage, response.info) == (
            original.author,
            original.outcome,
            original.usage,
            original.info,
        )
