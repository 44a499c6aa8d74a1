"""Models of all kinds: the layout that is picked gives what each row alone gives, or is refused."""

from __future__ import annotations

import copy
import functools
import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from cpt.errors import CptError
from cpt.training.data.packing import model_inputs
from cpt.training.data.sequences import TokenSequence
from cpt.training.forward.architecture import configs_of
from cpt.training.forward.attention import packed
from cpt.training.forward.loading.model import made_trainable
from cpt.training.forward.logps import SequenceLogps
from cpt.training.forward.probing import probe, trial
from cpt.training.options import Training

from . import families
from .families import FAMILIES, VOCABULARY, config_of, model_of, plain, random_model, rows

COMPACT = (
    {"bart", "bloom", "codegen", "deepseek_v32", "doge", "falcon", "falcon, alibi", "gptj"}
    | {"granitemoehybrid, mamba", "lfm2", "llama4", "mamba", "mpt", "nemotron_h", "qwen3_5"}
    | {"qwen3_5_moe", "qwen3_next", "rembert", "roberta", "xglm"}
)
"""Their rows are padded, but not where single tokens are computed. The others are packed."""
SWITCHED = {"llama, dynamic rope": 23, "phi3, longrope": 23, "doge": families.WINDOW} | {
    "deepseek_v32": families.WINDOW
}
"""Tokens beyond which rows cannot share a call."""


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


def weights_of(count: int) -> Tensor:
    return torch.linspace(-1.0, 1.5, count)


def gradient(model: nn.Module) -> Tensor:
    return torch.cat(
        [
            (torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten()
            for weight in model.parameters()
            if weight.requires_grad
        ]
    )


@functools.cache
def wanted(family: str) -> tuple[Tensor, Tensor]:
    """Log-probabilities of all rows, each by a fresh copy of the model, and their gradient."""
    found, total = [], torch.zeros(())
    sequences = [sequence for group in rows() for sequence in group]
    weights = weights_of(sum(len(sequence.answer) for sequence in sequences))
    pieces = torch.split(weights, [len(sequence.answer) for sequence in sequences])
    for sequence, piece in zip(sequences, pieces, strict=True):
        # Dynamic RoPE remembers the longest row that a model has read.
        model = copy.deepcopy(model_of(family))
        logps = plain(model, sequence)
        (logps * piece).sum().backward()
        found.append(logps.detach())
        total = total + gradient(model)
    return torch.cat(found), total


@functools.cache
def scored(family: str) -> SequenceLogps:
    return SequenceLogps(copy.deepcopy(model_of(family)))


def check(module: SequenceLogps, family: str) -> None:
    logps, grad = wanted(family)
    module.zero_grad()
    found = trial.scored(module, rows(), module.layout, module.model.device)
    (found * weights_of(len(found))).sum().backward()
    torch.testing.assert_close(found.detach(), logps, rtol=1e-4, atol=5e-5)
    assert float((gradient(module.model) - grad).norm() / grad.norm()) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_it_gives_what_each_row_alone_gives(family: str) -> None:
    module = scored(family)
    assert module.layout.packed is module.layout.shared is (family not in COMPACT)
    assert module.layout.compact is (family in COMPACT)
    assert module.layout.longest == SWITCHED.get(family)
    check(module, family)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "mamba"])
def test_checkpointing_changes_nothing_and_drops_nothing(family: str) -> None:
    model = copy.deepcopy(model_of(family))
    for config in configs_of(model):
        for name in vars(config).keys() & {"dropout", "hidden_dropout", "resid_pdrop"}:
            setattr(config, name, 0.5)
    for part in model.modules():
        for name, value in vars(part).items():
            if "dropout" in name and isinstance(value, float):
                setattr(part, name, 0.5)
            if isinstance(part, nn.Dropout):
                part.p = 0.5
    calls = []

    def count(*_: object) -> None:
        calls.append(torch._C._current_graph_task_id() != -1)  # in a backward pass

    module = SequenceLogps(made_trainable(model, Training(gradient_checkpointing=True)))
    layer = next(layer for layer in model.modules() if getattr(layer, "gradient_checkpointing", 0))
    for part in layer.children():
        part.register_forward_hook(count)
    check(module, family)
    assert any(calls), "nothing was computed twice"


@pytest.mark.parametrize(
    ("kind", "own"),
    [
        ("bert", {"is_decoder": False}),
        ("roberta", {"is_decoder": False}),
        ("cpmant", {}),
        ("xlm", {"emb_dim": 32, "n_heads": 4, "n_layers": 1, "causal": False}),
        ("xlnet", {"n_layer": 1, "n_head": 4, "d_inner": 48}),
    ],
)
def test_what_looks_ahead_is_refused(kind: str, own: dict[str, object]) -> None:
    with pytest.raises(CptError, match=r"depends on the tokens that follow.*causal") as caught:
        SequenceLogps(random_model(config_of(kind, own)))
    assert "\n" not in str(caught.value)
    assert ("is_decoder: true" in str(caught.value)) is ("is_decoder" in own)


def test_what_hashes_at_random_is_refused() -> None:
    own = {
        **{"is_decoder": True, "axial_pos_shape": [8, 16], "axial_pos_embds_dim": [16, 16]},
        **{"attention_head_size": 8, "num_buckets": 4, "attn_layers": ["local", "lsh"]},
        **{"feed_forward_size": 48, "num_hidden_layers": 2},
    }
    with pytest.raises(CptError, match="other results for the same row each time") as caught:
        SequenceLogps(random_model(config_of("reformer", own)))
    assert "\n" not in str(caught.value)


def test_what_has_no_gradient_in_eval_mode_is_refused() -> None:
    model = copy.deepcopy(model_of("llama"))

    def only_in_training(*_: object) -> None:
        assert not torch.is_grad_enabled(), "use train()"

    model.base_model.layers[0].register_forward_pre_hook(only_in_training)
    with pytest.raises(CptError, match=r"cannot compute the gradient .*\(use train\(\)"):
        SequenceLogps(model)


def test_padding_that_changes_results_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = copy.deepcopy(model_of("bart"))
    forward = model.base_model.forward

    def ignoring_length(*args: object, **kwargs: object) -> object:
        output = forward(*args, **kwargs)
        state = output.last_hidden_state
        output.last_hidden_state = state + state.shape[1] / 50
        return output

    monkeypatch.setattr(model.base_model, "forward", ignoring_length)
    logits = type(model).forward

    def through(self: PreTrainedModel, *args: object, **kwargs: object) -> object:
        output = logits(self, *args, **kwargs)
        hidden = self.base_model(
            input_ids=kwargs["input_ids"], attention_mask=kwargs.get("attention_mask")
        )
        output.logits = self.get_output_embeddings()(hidden.last_hidden_state)
        return output

    monkeypatch.setattr(type(model), "forward", through)
    with caplog.at_level(logging.WARNING):
        module = SequenceLogps(model)
    assert module.layout.longest == 0
    assert caplog.text.count("one at a time, which is slow, as its results change when rows") == 1
    sequences = [sequence for group in rows() for sequence in group]
    found = trial.scored(module, rows(), module.layout, module.model.device)
    torch.testing.assert_close(found, torch.cat([plain(model, sequence) for sequence in sequences]))


@pytest.mark.parametrize("family", ["bloom", "falcon", "llama4", "lfm2", "bart"])
def test_padding_and_repeated_prompts_are_left_out_of_an_mlp(family: str) -> None:
    module = scored(family)
    prompt, read = np.arange(20, 30), []
    group = [TokenSequence(prompt, np.arange(3, 3 + length)) for length in (2, 9, 30)]
    (inputs,) = model_inputs([group], 999, module.layout)
    layer = next(
        part
        for name, part in module.model.named_modules()
        if name.endswith(("up_proj", "dense_h_to_4h", "w1", "fc1"))
    )
    hook = layer.register_forward_hook(lambda _, args, __: read.append(args[0].numel()))
    try:
        found = module(inputs)
    finally:
        hook.remove()
    width = layer.in_features
    assert read[0] == (10 + 1 + 8 + 29) * width == inputs.tokens * width
    expected = torch.cat([plain(model_of(family), sequence) for sequence in group])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=5e-5)


def test_a_part_that_mixes_tokens_is_found_out_whatever_it_is_called(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = copy.deepcopy(model_of("bloom"))
    mlp = model.base_model.h[0].mlp
    forward = mlp.forward
    monkeypatch.setattr(mlp, "forward", lambda hidden, *rest: forward(hidden.cumsum(1), *rest))
    module = SequenceLogps(model)
    assert (module.layout.packed, module.layout.compact) == (False, False)
    sequences = [sequence for group in rows() for sequence in group]
    found = trial.scored(module, rows(), module.layout, module.model.device)
    torch.testing.assert_close(found, torch.cat([plain(model, sequence) for sequence in sequences]))


def test_trial_ids_are_those_of_text() -> None:
    model = copy.deepcopy(model_of("llama"))
    model.config.vocab_size, model.config.image_token_id = 50, 7  # CPM-Ant has rows beyond it
    ids = trial.ids_of(model, 1, 3 * VOCABULARY)
    assert set(ids.tolist()) == set(range(50)) - {1, 2, 7}


def test_a_window_of_thousands_is_tried_too(monkeypatch: pytest.MonkeyPatch) -> None:
    kind, own = FAMILIES["phimoe"]
    model = random_model(config_of(kind, {**own, "sliding_window": 64}))
    monkeypatch.setattr(packed, "_window_of", lambda _: None)
    assert not SequenceLogps(copy.deepcopy(model)).layout.packed
    monkeypatch.undo()
    assert SequenceLogps(model).layout.packed
    assert model.config.sliding_window == 64


@pytest.mark.parametrize("family", FAMILIES)
def test_without_weights_nothing_is_packed_that_tests_do_not_pack(family: str) -> None:
    with torch.device("meta"):
        model = random_model(config_of(*FAMILIES[family]))
    head, layout = probe.find_head(model), probe.find_layout(model, lambda _: torch.empty(0))
    if layout.packed:
        assert family in {"llama", "smollm3"}
        assert head is not None
    else:
        assert (head, layout.longest) == (None, 0)
