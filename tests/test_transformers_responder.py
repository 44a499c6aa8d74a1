"""A model on this machine: its answers are its own, whatever else is asked."""

from __future__ import annotations

import gc
import shutil
import weakref
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationConfig, RobertaConfig, RobertaForCausalLM

import cpt_transformers
from cpt import CptError, Message, Prompt, Response
from cpt.models import batches, digest_of, name_of
from cpt.testing import ResponderContract, fake_prompts
from cpt_transformers import generation
from cpt_transformers.responder import Transformers
from cpt_transformers.sampling import Noise, gumbel, key, sampler

from .tiny import folder, tokenizer


@pytest.fixture(scope="module", autouse=True)
def _alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CPT_CACHE", str(tmp_path_factory.mktemp("cache")))
        # The machine is shared: threads that wait for each other take most of the time.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that ends its answers at any of twenty tokens, and has manners of its own."""
    path = folder(tmp_path_factory.mktemp("models") / "tiny", initializer_range=0.3)
    GenerationConfig(
        eos_token_id=list(range(100, 120)),
        do_sample=True,
        temperature=0.01,
        top_k=1,
        repetition_penalty=9.0,
        max_length=3,
    ).save_pretrained(path)
    return path


@pytest.fixture
def responder(model: Path) -> Transformers:
    return Transformers(model=str(model), max_tokens=400, device="cpu")


class TestTransformers(ResponderContract):
    @pytest.fixture(autouse=True)
    def _component(self, responder: Transformers) -> None:
        # Of this seed, no answer is empty: the contract takes silence for a failure.
        self.component = attrs.evolve(responder, seed=5)


def prompt(text: str) -> Prompt:
    return Prompt(id=text, messages=(Message("user", text),))


VARIED = [(prompt("ab " * length), sample) for length in (1, 30, 2, 9, 60) for sample in range(3)]


def texts(responses: Sequence[Response]) -> list[str]:
    return [response.text for response in responses]


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("batch_tokens", [1, 500, 1200])
def test_batches_change_no_answer(
    temperature: float, batch_tokens: int, responder: Transformers
) -> None:
    roomy = attrs.evolve(responder, temperature=temperature, max_tokens=50)
    cramped = attrs.evolve(roomy, batch_tokens=batch_tokens)
    assert roomy.identity == cramped.identity
    assert texts(roomy.answer_all(VARIED)) == texts(cramped.answer_all(VARIED[::-1]))[::-1]


def test_answers_come_as_their_batch_is_done_and_tokens_as_they_are_made(
    responder: Transformers,
) -> None:
    happened: list[Any] = []
    cramped = attrs.evolve(responder, batch_tokens=1)
    cramped.answer_each(
        VARIED, lambda index, answer: happened.append((index, answer)), happened.append
    )
    answers: dict[int, Response] = dict(entry for entry in happened if isinstance(entry, tuple))
    assert texts([answers[index] for index in range(len(VARIED))]) == texts(
        cramped.answer_all(VARIED)
    )
    kinds = "".join("a" if isinstance(entry, tuple) else "t" for entry in happened)
    assert kinds.count("ta") == len(VARIED)
    tokens = sum(entry for entry in happened if isinstance(entry, int))
    made = sum(answer.usage.output_tokens for answer in answers.values())
    ended = sum(answer.finish_reason == "stop" for answer in answers.values())
    assert tokens == made - ended


def test_samples_differ_and_greedy_answers_do_not(responder: Transformers) -> None:
    requests = [(prompt("ab"), sample) for sample in range(8)]
    assert len(set(texts(responder.answer_all(requests)))) == 8
    assert len(set(texts(attrs.evolve(responder, temperature=0.0).answer_all(requests)))) == 1


def test_another_seed_gives_another_answer(responder: Transformers) -> None:
    other = attrs.evolve(responder, seed=5)
    assert texts(responder.answer_all(VARIED[:1])) != texts(other.answer_all(VARIED[:1]))
    assert responder.identity != other.identity


def test_greedy_answers_are_those_of_generate(model: Path, responder: Transformers) -> None:
    from transformers import AutoModelForCausalLM

    greedy = attrs.evolve(responder, temperature=0.0, max_tokens=40)
    alone = AutoModelForCausalLM.from_pretrained(model).eval()
    alone.generation_config = GenerationConfig(eos_token_id=list(range(100, 120)), pad_token_id=0)
    words = tokenizer()
    for (asked, _), said in zip(VARIED, greedy.answer_all(VARIED), strict=True):
        text = f"<|im_start|>user\n{asked.text}<|im_end|>\n<|im_start|>assistant\n"
        ids = torch.tensor([words(text).input_ids])
        ends = {*range(100, 120), words.eos_token_id}
        whole = alone.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False
        )
        expected = whole[0, ids.shape[1] :].tolist()
        stop = next((index for index, token in enumerate(expected) if token in ends), None)
        assert said.text == words.decode(expected[:stop], skip_special_tokens=True)


def test_how_an_answer_ended_is_said(responder: Transformers) -> None:
    (cut,) = attrs.evolve(responder, max_tokens=2).answer_all(VARIED[:1])
    assert (cut.outcome, cut.finish_reason, cut.usage.output_tokens) == ("cut_off", "length", 2)
    (whole,) = responder.answer_all(VARIED[:1])
    assert (whole.outcome, whole.finish_reason) == ("answered", "stop")
    assert whole.author == "tiny"
    # im_start, "user\n", two letters that are one token, a space, im_end, "\n", ...
    assert whole.usage.input_tokens == len(
        tokenizer()("<|im_start|>user\nab <|im_end|>\n<|im_start|>assistant\n").input_ids
    )


def test_an_empty_answer_is_one(tmp_path: Path) -> None:
    path = folder(tmp_path / "silent")
    everything = list(range(len(tokenizer())))
    GenerationConfig(eos_token_id=everything).save_pretrained(path)
    (silent,) = Transformers(model=str(path), device="cpu").answer_all(VARIED[:1])
    assert (silent.outcome, silent.text, silent.usage.output_tokens) == ("empty", "", 1)


def test_an_answer_ends_with_the_context(tmp_path: Path) -> None:
    """Alone or in company, and a prompt that fills the context fails by itself."""
    path = folder(tmp_path / "short", max_position_embeddings=64)
    responder = Transformers(model=str(path), device="cpu", max_tokens=60)
    requests = [(prompt("c" * length), 0) for length in (1, 9, 20, 90)]
    together = responder.answer_all(requests)
    assert texts(together) == [responder.answer_all([request])[0].text for request in requests]
    for response in together[:3]:
        assert response.usage.input_tokens + response.usage.output_tokens == 64
    assert together[3].outcome == "rejected"
    assert "leave no room" in together[3].detail


def test_a_prompt_that_the_template_refuses_is_rejected_and_the_others_answered(
    tmp_path: Path,
) -> None:
    path = folder(tmp_path / "model", initializer_range=0.3)
    template = path / "chat_template.jinja"
    refuses = (
        "{% if messages[0].content == 'b' %}{{ raise_exception('not this\nat all') }}{% endif %}"
        "{% if messages[0].content == 'c' %}{{ messages[0].content + 1 }}{% endif %}"
        "{% if messages[0].content == 'd' %}{{ 1 // 0 }}{% endif %}"
    )
    template.write_text(refuses + template.read_text())
    responder = Transformers(model=str(path), device="cpu", max_tokens=5)
    found = responder.answer_all([(prompt(text), 0) for text in "abcde"])
    assert [response.outcome.is_final for response in found] == [True] * 5
    assert found[1].detail == "the chat template refuses it (not this)"
    for response in found[1:4]:
        assert response.outcome == "rejected"
        assert response.detail.startswith("the chat template refuses it (")
    for response in (found[0], found[4]):
        (alone,) = responder.answer_all([(prompt(response.prompt_id), 0)])
        assert response == alone
        assert response.outcome.has_text


def test_learned_positions_are_not_run_past(tmp_path: Path) -> None:
    """RoBERTa counts them from its padding on: of 66, answers and prompts have 64."""
    words = tokenizer()
    words.save_pretrained(tmp_path)
    config = RobertaConfig(
        **{"vocab_size": len(words), "hidden_size": 16, "intermediate_size": 32},
        **{"num_hidden_layers": 1, "num_attention_heads": 2, "is_decoder": True},
        **{"pad_token_id": 1, "max_position_embeddings": 66},
        initializer_range=0.0,  # every token is as likely: it never ends
    )
    RobertaForCausalLM(config).save_pretrained(tmp_path)
    responder = Transformers(model=str(tmp_path), device="cpu", max_tokens=60, temperature=0.0)
    answers = responder.answer_all([(prompt("c" * length), 0) for length in (20, 90)])
    used = answers[0].usage.input_tokens + answers[0].usage.output_tokens
    assert (answers[0].outcome, used) == ("cut_off", 64)
    assert answers[1].outcome == "rejected"


def test_a_system_message_is_put_first(responder: Transformers) -> None:
    system = Message("system", "Be kind.")
    kind = attrs.evolve(responder, system="Be kind.")
    plain = prompt("ab")
    both = attrs.evolve(plain, messages=(system, *plain.messages))
    # The answer itself says what was asked: its randomness is a function of the conversation.
    expected = texts(responder.answer_all([(both, 0)]))
    assert texts(kind.answer_all([(plain, 0)])) == expected
    assert texts(kind.answer_all([(both, 0)])) == expected
    assert texts(responder.answer_all([(plain, 0)])) != expected


def test_one_model_in_two_places_is_one(model: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(model, tmp_path / "copy")
    first, second = Transformers(model=str(model)), Transformers(model=str(copy))
    assert first.identity == second.identity


def test_a_model_trained_anew_is_another(tmp_path: Path) -> None:
    path = folder(tmp_path / "model")
    responder = Transformers(model=str(path), max_tokens=9, device="cpu")
    before, said = responder.identity, texts(responder.answer_all(VARIED))
    folder(path, seed=5)
    assert responder.identity != before
    assert texts(responder.answer_all(VARIED)) != said


@pytest.mark.parametrize(("large", "kept"), [(0, 1), (1 << 30, 2)])
def test_a_large_model_is_let_go_before_another_is_read(
    large: int, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models: list[weakref.ref[object]] = []
    alive: list[int] = []
    read = generation._read

    def reading(folder: str, device: str, dtype: str, trust_remote_code: bool) -> object:
        gc.collect()
        alive.append(sum(model() is not None for model in models))
        loaded = read(folder, device, dtype, trust_remote_code)
        models.append(weakref.ref(loaded.model))
        return loaded

    monkeypatch.setattr(generation, "LARGE", large)
    monkeypatch.setattr(generation, "IN_MEMORY", {})
    monkeypatch.setattr(generation, "_read", reading)
    for seed in (1, 2):
        path = folder(tmp_path / str(seed), seed=seed)
        Transformers(model=str(path), max_tokens=1, device="cpu").answer_all(
            [(prompt, 0) for prompt in fake_prompts(1)]
        )
    assert alive == [0, kept - 1]
    assert len(generation.IN_MEMORY) == kept


@pytest.mark.parametrize(("large", "kept"), [(0, 0), (1 << 30, 1)])
def test_a_large_model_is_let_go_when_a_stage_or_a_measurement_ends(
    large: int, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "LARGE", large)
    path = folder(tmp_path / "model")
    ended = (
        cpt_transformers.cpt_stage_ended,
        partial(cpt_transformers.cpt_metrics_logged, {"step": 2, "eval/judged/greedy": 0.5}),
    )
    for end in ended:
        monkeypatch.setattr(generation, "IN_MEMORY", {})
        Transformers(model=str(path), max_tokens=1, device="cpu").answer_all(
            [(prompt, 0) for prompt in fake_prompts(1)]
        )
        cpt_transformers.cpt_metrics_logged({"step": 1, "loss": 0.5})
        assert len(generation.IN_MEMORY) == 1
        end()
        assert len(generation.IN_MEMORY) == kept


@pytest.mark.parametrize("name", ["tokenizer_config.json", "chat_template.jinja"])
def test_another_tokenizer_is_another_model(name: str, tmp_path: Path) -> None:
    path = folder(tmp_path / "model")
    before = digest_of(str(path))
    (path / name).write_text((path / name).read_text() + "\n")
    assert digest_of(str(path)) != before


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/models/llama", "llama"),
        ("/models/llama/", "llama"),
        ("meta/llama", "llama"),
        ("lab:strong", "strong"),
        ("runs/apo/model", "apo"),
        ("model", "model"),
    ],
)
def test_who_signs(text: str, name: str) -> None:
    assert name_of(text) == Transformers(model=text).author == name


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model": "nowhere/at/all"}, "nowhere/at/all"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"top_k": -1}, "top_k is -1"),
        ({"max_tokens": 0}, "max_tokens is 0"),
    ],
)
def test_what_cannot_work_is_said_first(
    change: dict[str, Any], complaint: str, responder: Transformers
) -> None:
    with pytest.raises(CptError, match=complaint):
        attrs.evolve(responder, **change).check()


def test_a_folder_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(CptError, match=r"no config\.json"):
        Transformers(model=str(tmp_path)).check()
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(CptError, match="no causal language model that can be loaded"):
        Transformers(model=str(tmp_path)).answer_all([(fake_prompts(1)[0], 0)])


def test_the_noise_samples_the_softmax() -> None:
    """100,000 draws: no frequency is more than five standard errors from its probability."""
    draws, logits = 100_000, torch.tensor([2.0, 1.0, 0.0, -1.0, -3.0, -30.0])
    keys = torch.tensor([key([Message("user", "x")], sample, 0) for sample in range(draws // 100)])
    chosen = [(logits + gumbel(keys, step, len(logits))).argmax(1) for step in range(100)]
    found = torch.cat(chosen).bincount(minlength=len(logits)) / draws
    expected = logits.softmax(0)
    error = (expected * (1 - expected) / draws).sqrt()
    assert ((found - expected).abs() <= 5 * error + 1e-12).all()


def test_the_noise_is_standard_gumbel() -> None:
    noise = gumbel(torch.arange(1000), 3, 1000).flatten().double().sort().values
    distance = (torch.exp(-torch.exp(-noise)) - torch.linspace(0, 1, 1_000_000)).abs().max()
    assert distance < 1.95 / 1000  # Kolmogorov-Smirnov, one chance in a thousand
    assert noise.isfinite().all()


def test_steps_and_keys_are_independent() -> None:
    keys = torch.arange(50)
    rows = torch.cat([gumbel(keys, step, 2000) for step in (0, 1, 7)])
    correlation = torch.corrcoef(rows) - torch.eye(len(rows))
    assert correlation.abs().max() < 6 / 2000**0.5


def test_the_likeliest_are_sampled_from() -> None:
    logits = torch.tensor([[3.0, 2.0, 1.0, 0.0]]).expand(2000, 4)
    keys = list(range(2000))
    for options, kept in (
        ({"top_k": 2, "top_p": 1.0}, {0, 1}),
        ({"top_k": 0, "top_p": 0.7}, {0, 1}),
        ({"top_k": 1, "top_p": 1.0}, {0}),
        ({"top_k": 0, "top_p": 1.0}, {0, 1, 2, 3}),
    ):
        steps = sampler(keys, 0, temperature=1.0, **options)  # type: ignore[arg-type]
        drawn = steps(torch.zeros(2000, 0, dtype=torch.long), logits).argmax(1)
        assert {*drawn.tolist()} == kept
    cold = sampler(keys, 0, temperature=0.5, top_k=0, top_p=1.0)
    drawn = cold(torch.zeros(2000, 0, dtype=torch.long), logits).argmax(1)
    share = Counter(drawn.tolist())[0] / 2000
    assert share == pytest.approx((logits[0] / 0.5).softmax(0)[0].item(), abs=0.04)


def test_nothing_is_added_to_greedy_logits() -> None:
    assert not sampler([1], 0, temperature=0.0, top_k=5, top_p=0.5)
    assert isinstance(sampler([1], 0, temperature=1.0, top_k=0, top_p=1.0)[-1], Noise)


@given(lengths=st.lists(st.integers(1, 50), max_size=40), tokens=st.integers(1, 200))
def test_batches_hold_everything_once_and_fit(lengths: list[int], tokens: int) -> None:
    found = list(batches(lengths, tokens, extra=3))
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    for batch in found:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * (longest + 3) <= tokens
