"""Whatever way log-probabilities are computed, they and their gradients are the model's own."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Iterator
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    BloomConfig,
    Cohere2Config,
    CohereConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    GraniteConfig,
    LlamaConfig,
    MambaConfig,
    MistralConfig,
    PhiConfig,
    PreTrainedModel,
    Qwen3Config,
)

from cpt.training.data.packing import Layout, model_inputs
from cpt.training.data.sequences import TokenSequence
from cpt.training.forward import head as heads
from cpt.training.forward.logps import SequenceLogps
from cpt.training.forward.probing import probe

VOCABULARY = 97
SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
WINDOW = {"sliding_window": 5, "layer_types": ["sliding_attention", "full_attention"]}
FAMILIES = {
    "llama": LlamaConfig(**SMALL),
    "qwen3": Qwen3Config(**SMALL, head_dim=8, tie_word_embeddings=True),
    "gemma2": Gemma2Config(**SMALL, head_dim=8, sliding_window=5, final_logit_softcapping=2.0),
    "gemma3": Gemma3TextConfig(**SMALL, head_dim=8, **WINDOW),
    "cohere": CohereConfig(**SMALL, logit_scale=0.25),
    "cohere2": Cohere2Config(**SMALL, **WINDOW),
    "granite": GraniteConfig(**SMALL, logits_scaling=3.0, attention_multiplier=0.3),
    "mistral": MistralConfig(**SMALL, sliding_window=5),
    "phi": PhiConfig(**SMALL),  # Its head has a bias.
    "gpt2": GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=2,
    ),
    "bloom": BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4),
    "mamba": MambaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, state_size=4, eos_token_id=2
    ),
    "gpt_oss": GptOssConfig(
        **SMALL,
        head_dim=8,
        num_local_experts=2,
        num_experts_per_tok=1,
        sliding_window=5,
        layer_types=["sliding_attention", "full_attention"],
    ),
}
PACKED = sorted(FAMILIES.keys() - {"bloom", "mamba"})


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """More threads than these small matrices need only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@functools.cache
def original(family: str) -> PreTrainedModel:
    """A model with the attention that it came with."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(copy.deepcopy(FAMILIES[family]))
    for parameter in model.parameters():
        # Larger than at initialisation, so that what one token does to another shows.
        parameter.data.normal_(0, 0.15 if parameter.ndim > 1 else 0.5)
    return model.eval()


@functools.cache
def scored(family: str) -> SequenceLogps:
    return SequenceLogps(copy.deepcopy(original(family)))


def plain(model: nn.Module, sequence: TokenSequence) -> Tensor:
    """The definition: a sequence alone, all logits, log-softmax, the answer's tokens picked."""
    ids = torch.from_numpy(np.concatenate([sequence.prompt, sequence.answer]))[None]
    logps = model(input_ids=ids, use_cache=False).logits[0].float().log_softmax(-1)
    answer = torch.from_numpy(sequence.answer)[:, None]
    return logps[len(sequence.prompt) - 1 : -1].gather(1, answer)[:, 0]


def gradients(model: nn.Module) -> Tensor:
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    return torch.cat([grad.flatten() for grad in found])


def through(
    module: SequenceLogps, groups: list[list[TokenSequence]], tokens: int, layout: Layout
) -> Tensor:
    """All sequences' log-probabilities by micro-batches, back in the order of `groups`."""
    found: dict[int, Tensor] = {}
    for inputs in model_inputs(groups, tokens, layout):
        answers = iter(torch.split(module(inputs), list(inputs.lengths)))
        for group in inputs.groups:
            found[group] = torch.cat([next(answers) for _ in groups[group]])
    return torch.cat([found[group] for group in range(len(groups))])


ids = st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=14)
shared_prompt = st.builds(
    lambda prompt, answers: [TokenSequence(prompt, answer) for answer in answers],
    ids,
    st.lists(ids, min_size=1, max_size=3),
)
mixed = st.lists(st.builds(TokenSequence, ids, ids), min_size=1, max_size=3)
groups_of_sequences = st.lists(st.one_of(shared_prompt, mixed), min_size=1, max_size=4)
ways = st.sampled_from(["padded", "packed", "shared"])


def allowed(layout: Layout, way: str) -> Layout:
    if way == "padded" or not layout.packed:
        return Layout()
    # No overhead, so that even the shortest prompt is shared.
    return attrs.evolve(layout, shared=way == "shared", per_key=0.0, per_segment=0.0)


@pytest.mark.parametrize("family", sorted(FAMILIES))
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_every_way_is_the_plain_way(family: str, data: st.DataObject) -> None:
    module = scored(family)
    groups = data.draw(groups_of_sequences)
    sequences = [sequence for group in groups for sequence in group]
    weights = torch.linspace(-1.0, 1.5, sum(len(sequence.answer) for sequence in sequences))

    model = original(family)
    model.zero_grad()
    wanted = torch.cat([plain(model, sequence) for sequence in sequences])
    (wanted * weights).sum().backward()
    wanted_gradients = gradients(model)

    module.zero_grad()
    layout = allowed(module.layout, data.draw(ways))
    found = through(module, groups, data.draw(st.integers(1, 90)), layout)
    (found * weights).sum().backward()

    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=2e-5)
    scale = float(wanted_gradients.abs().max())
    torch.testing.assert_close(
        gradients(module.model), wanted_gradients, rtol=1e-4, atol=1e-5 * max(scale, 1.0)
    )


@pytest.mark.parametrize("family", PACKED)
def test_these_are_packed_and_share_prompts(family: str) -> None:
    assert scored(family).layout.packed
    assert scored(family).layout.shared


@pytest.mark.parametrize(
    ("family", "why"),
    [("bloom", "cannot be replaced"), ("mamba", "recurrent")],
)
def test_these_are_padded_and_it_is_said(
    family: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    scored.cache_clear()
    with caplog.at_level(logging.WARNING):
        assert not scored(family).layout.packed
    assert why in caplog.text


def test_a_model_that_ignores_positions_is_padded(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = copy.deepcopy(original("gpt2"))
    forward = model.base_model.forward
    monkeypatch.setattr(
        model.base_model,
        "forward",
        lambda *args, **kwargs: forward(*args, **(kwargs | {"position_ids": None})),
    )
    with caplog.at_level(logging.WARNING):
        assert not SequenceLogps(model).layout.packed
    assert "results change" in caplog.text


def test_an_unknown_head_is_asked_for_its_logits(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(type(scored("llama").model)):  # type: ignore[misc]
        def forward(self, *args: object, **kwargs: object) -> object:
            output = super().forward(*args, **kwargs)
            output.logits = output.logits.sin()
            return output

    model = Odd(FAMILIES["llama"])
    with caplog.at_level(logging.WARNING):
        module = SequenceLogps(model)
    assert "head is unknown" in caplog.text
    sequence = TokenSequence([3, 4], [5, 6, 7])
    (inputs,) = model_inputs([[sequence]], 99, module.layout)
    torch.testing.assert_close(module(inputs), plain(model, sequence))


@pytest.mark.parametrize("family", ["llama", "gemma2", "phi"])
@pytest.mark.parametrize("keep", [0, 2**30], ids=["recomputed", "kept"])
def test_chunks_and_what_is_kept_change_nothing(
    family: str, keep: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = scored(family)
    rng = np.random.default_rng(0)
    sequences = [TokenSequence(rng.integers(0, 97, 5), rng.integers(0, 97, 23)) for _ in range(3)]
    (inputs,) = model_inputs([sequences], 999, module.layout)
    results = []
    for chunk in (2**27, 4 * VOCABULARY * 8):
        monkeypatch.setitem(heads.CHUNK, "cpu", chunk)
        monkeypatch.setitem(heads.BLOCK, "cpu", chunk // 3)
        monkeypatch.setitem(heads.KEEP, "cpu", keep if chunk < 2**27 else 2**30)
        module.zero_grad()
        flat = module(inputs)
        (flat * torch.linspace(-1, 1, len(flat))).sum().backward()
        results.append((flat.detach(), gradients(module.model)))
    (whole, whole_gradients), (cut, cut_gradients) = results
    torch.testing.assert_close(cut, whole)
    torch.testing.assert_close(cut_gradients, whole_gradients, rtol=1e-4, atol=1e-5)


def test_a_frozen_head_keeps_nothing_and_gets_no_gradient() -> None:
    linear = nn.Linear(8, VOCABULARY, bias=False).requires_grad_(False)
    hidden = torch.randn(6, 8, requires_grad=True)
    targets = torch.arange(6)
    found = heads.token_logps(hidden, targets, heads.Head(output=linear))
    saved: Any = found.grad_fn
    shapes = [tensor.shape for tensor in saved.saved_tensors if tensor is not None]
    assert all(VOCABULARY not in shape or shape == linear.weight.shape for shape in shapes)
    found.sum().backward()
    given = hidden.grad
    hidden.grad = None
    linear(hidden).log_softmax(-1).gather(1, targets[:, None]).sum().backward()
    torch.testing.assert_close(given, hidden.grad)
    assert linear.weight.grad is None


def test_nothing_is_kept_without_gradients() -> None:
    linear = nn.Linear(8, VOCABULARY)
    with torch.no_grad():
        found = heads.token_logps(
            torch.randn(6, 8), torch.arange(6), heads.Head(output=linear, softcap=3.0)
        )
    assert found.grad_fn is None


def test_a_head_with_an_adapter_is_differentiated_as_it_is() -> None:
    class Adapted(nn.Linear):
        def forward(self, hidden: Tensor) -> Tensor:
            return super().forward(hidden) + hidden.sum(-1, keepdim=True)

    layer = Adapted(8, VOCABULARY)
    hidden = torch.randn(6, 8, requires_grad=True)
    targets = torch.arange(6)
    heads.token_logps(hidden, targets, heads.Head(output=layer, scale=0.5)).sum().backward()
    given = hidden.grad
    hidden.grad = None
    (layer(hidden) * 0.5).log_softmax(-1).gather(1, targets[:, None]).sum().backward()
    torch.testing.assert_close(given, hidden.grad)


def test_the_gradient_can_be_asked_for_twice() -> None:
    module = scored("llama")
    (inputs,) = model_inputs([[TokenSequence([3], [4, 5])]], 99, module.layout)
    total = module(inputs).sum()
    (weight,) = [module.model.lm_head.weight]
    once = torch.autograd.grad(total, weight, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(total, weight)[0], once)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma3"])
def test_bf16_is_near(family: str) -> None:
    module = scored(family)
    rng = np.random.default_rng(0)
    sequences = [TokenSequence(rng.integers(0, 97, 9), rng.integers(0, 97, 40)) for _ in range(2)]
    (inputs,) = model_inputs([sequences], 999, module.layout)
    module.zero_grad()
    exact = module(inputs)
    exact.sum().backward()
    exact_gradients = gradients(module.model)
    module.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        near = module(inputs)
    assert near.dtype == torch.float32
    near.sum().backward()
    assert float((near - exact).detach().abs().max()) < 0.2
    cosine = torch.cosine_similarity(gradients(module.model), exact_gradients, dim=0)
    assert float(cosine) > 0.998


def test_a_row_has_the_same_bits_in_any_company() -> None:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES["qwen3"])
    module = SequenceLogps(model)
    rng = np.random.default_rng(0)
    sequence = TokenSequence(rng.integers(0, 97, 40), rng.integers(0, 97, 80))
    others = [
        TokenSequence(rng.integers(0, 97, 30), rng.integers(0, 97, size)) for size in (90, 120)
    ]
    layout = attrs.evolve(module.layout, shared=False)
    with torch.no_grad():
        (alone,) = model_inputs([[sequence]], 999, layout)
        (together,) = model_inputs([[others[0]], [sequence], [others[1]]], 999, layout)
        answers = torch.split(module(together), list(together.lengths))
        assert torch.equal(answers[together.groups.index(1)], module(alone))


def test_ordinary_use_of_the_model_stays_ordinary() -> None:
    module = scored("gemma2")
    ids = torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12], [0, 0, 0, 5, 6, 7, 8, 9]])
    mask = ids != 0
    both = module.model(input_ids=ids, attention_mask=mask).logits[1, 3:]
    alone = module.model(input_ids=ids[1:, 3:]).logits[0]
    torch.testing.assert_close(both, alone, rtol=1e-4, atol=1e-4)


def test_a_model_on_meta_is_taken_at_its_word() -> None:
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(FAMILIES["granite"])
    head = probe.find_head(model)
    assert head is not None
    assert head.scale == pytest.approx(1 / 3)


def test_an_adapter_around_the_model_is_part_of_it() -> None:
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"])
    adapted = peft.get_peft_model(copy.deepcopy(original("llama")), config).eval()
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(0, 0.3)
    module = SequenceLogps(adapted)
    assert module.layout.shared
    sequences = [TokenSequence([3, 4, 5, 6], [7, 8, 9]), TokenSequence([3, 4, 5, 6], [10, 11])]
    (inputs,) = model_inputs([sequences], 99, allowed(module.layout, "shared"))
    wanted = torch.cat([plain(adapted, sequence) for sequence in sequences])
    torch.testing.assert_close(module(inputs), wanted)
    module(inputs).sum().backward()
    assert all(
        (parameter.grad is not None) == ("lora" in name)
        for name, parameter in adapted.named_parameters()
    )
    with adapted.disable_adapter():
        bare = torch.cat([plain(original("llama"), sequence) for sequence in sequences])
        torch.testing.assert_close(module(inputs), bare)


def test_activations_computed_twice_are_the_same() -> None:
    model = copy.deepcopy(original("qwen3")).train()
    sequences = [TokenSequence([3, 4, 5, 6], [7, 8, 9]), TokenSequence([3, 4, 5, 6], [10, 11])]
    found = []
    for twice in (False, True):
        if twice:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        module = SequenceLogps(model)
        module.zero_grad()
        (inputs,) = model_inputs([sequences], 99, allowed(module.layout, "shared"))
        module(inputs).sum().backward()
        found.append(gradients(model))
    torch.testing.assert_close(found[1], found[0])
