"""A few rows through a model, one by one and in a layout: whether both are the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from cpt.training.data.inputs import ModelInputs
from cpt.training.data.packing import Layout, model_inputs
from cpt.training.data.sequences import TokenSequence
from cpt.training.forward.architecture import configs_of, fresh_positions

Sequences = Sequence[TokenSequence]

LENGTHS = ((9, 4), (9, 12), (2, 23), (1, 3))
"""Tokens of prompt and answer of each row that is tried; the first two have one prompt."""
NARROW = 6
"""Tokens in every window while rows are tried: the rows reach beyond it."""
WINDOW = re.compile(
    r"(.*_)?window(_size|_len)?|local_attention|attention_chunk_size"
    "|(.*_)?chunk_length"
)
"""Names of what limits how far a token sees, in configurations and modules."""
SPECIAL = re.compile(r"(.*_)?(token_ids?|token_index)")
"""Names of ids that a model may treat in a way of their own, in configurations."""
FAILURES = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError),
    *(NotImplementedError, RuntimeError, TypeError, ValueError),
)
"""What a model raises for inputs that it cannot take."""


def sequences_of(model: Any) -> list[TokenSequence]:
    """Rows of several lengths, no longer than the model takes."""
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    found = []
    for number, (prompt, answer) in enumerate(LENGTHS):
        if isinstance(limit, int) and limit > 3:
            prompt = min(prompt, limit // 2)
            answer = min(answer, limit - prompt)
        start = 1 if number < 2 else number
        ids = (ids_of(model, start, prompt), ids_of(model, number + 5, answer))
        found.append(TokenSequence(*(tensor.cpu().numpy() for tensor in ids)))
    return found


def ids_of(model: Any, start: int, length: int) -> Tensor:
    """Ids spread over the vocabulary, different ones for each `start`."""
    ids = _ordinary_ids(model)
    picked = (np.arange(1, length + 1) * 7919 + start * 104729) % len(ids)
    return torch.from_numpy(ids[picked]).to(model.device)


def _ordinary_ids(model: Any) -> np.ndarray[Any, Any]:
    """What text may hold: neither padding nor images, and no row of the embeddings without text."""
    rows = model.get_input_embeddings().weight.shape[0]
    sizes = {getattr(config, "vocab_size", None) for config in configs_of(model)}
    ids = np.arange(min([rows, *(size for size in sizes if type(size) is int and size > 0)]))
    special = [
        number
        for config in configs_of(model)
        for name, value in vars(config).items()
        if SPECIAL.fullmatch(name)
        for number in (value if isinstance(value, list) else [value])
        if isinstance(number, int)
    ]
    ordinary = ids[~np.isin(ids, special)]
    return ordinary if len(ordinary) > 1 else ids


def one_by_one(model: Any, sequences: Sequences) -> Tensor:
    """The definition of log-probabilities: token ids alone, row after row. Shape (answer tokens,).

    The largest of a few lines that the rest of `forward` only computes faster.
    """
    return torch.cat([_defined(model, sequence) for sequence in sequences])


def _defined(model: Any, sequence: TokenSequence) -> Tensor:
    logits = _logits(model, np.concatenate([sequence.prompt, sequence.answer]))
    answer = torch.from_numpy(sequence.answer)[:, None].to(logits.device)
    logps = logits[len(sequence.prompt) - 1 : -1].log_softmax(-1)
    return logps.gather(1, answer)[:, 0]


def _logits(model: Any, ids: np.ndarray[Any, Any]) -> Tensor:
    fresh_positions(model)
    row = torch.from_numpy(ids)[None].to(model.device)
    logits: Tensor = model(input_ids=row, use_cache=False).logits[0].float()
    return logits


def looks_ahead(model: Any, sequences: Sequences) -> bool:
    """Whether another last token changes what is predicted before it."""
    longest = max(sequences, key=lambda sequence: sequence.input_length)
    ids = np.concatenate([longest.prompt, longest.answer])
    other = ids.copy()
    other[-1] = longest.prompt[0] if longest.prompt[0] != ids[-1] else longest.prompt[1]
    return not same(model, _logits(model, other)[:-1], _logits(model, ids)[:-1])


def differs(
    model: Any,
    score: Callable[[ModelInputs], Tensor],
    layout: Layout,
    sequences: Sequences,
    wanted: Tensor,
) -> str | None:
    """None if `score` gives what is wanted in this layout, else the error in brackets, or ""."""
    first, second, *others = sequences
    groups = [[first, second], *([sequence] for sequence in others)]
    # Without costs, as so short a prompt would not be shared.
    layout = attrs.evolve(layout, per_key=0.0, per_segment=0.0)
    try:
        found = scored(score, groups, layout, model.device)
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        return f" ({one_line(error)})"
    return None if same(model, found, wanted) else ""


def gradient(
    model: Any, score: Callable[[ModelInputs], Tensor], layout: Layout, sequence: TokenSequence
) -> None:
    """Go backward through all layers, down to the embeddings; keeps nothing."""
    inputs: list[Tensor] = []

    def leaf(*call: Any) -> Tensor:
        inputs.append(call[-1].detach().requires_grad_())
        return inputs[-1] * 1  # as a layer may change what it gets in place

    with torch.enable_grad():
        hook = model.get_input_embeddings().register_forward_hook(leaf)
        try:
            total = scored(score, [[sequence]], layout, model.device).sum()
            torch.autograd.grad(total, inputs, allow_unused=True)
        finally:
            hook.remove()


def scored(
    score: Callable[[ModelInputs], Tensor],
    groups: Sequence[Sequences],
    layout: Layout,
    device: torch.device,
) -> Tensor:
    """Log-probabilities of all sequences in as few calls as the layout allows, in their order."""
    found: dict[int, Tensor] = {}
    for inputs in model_inputs(groups, 999, layout):
        answers = iter(torch.split(score(inputs.to(device)), list(inputs.lengths)))
        for group in inputs.groups:
            found[group] = torch.cat([next(answers) for _ in groups[group]])
    return torch.cat([found[group] for group in range(len(groups))])


def same(model: Any, found: Tensor, wanted: Tensor) -> bool:
    """Whether two results differ by rounding only, relative to how much they vary."""
    tolerance = 3e-4 if model.dtype == torch.float32 else 5e-2
    error = (found - wanted).norm() / (wanted - wanted.mean()).norm()
    return bool(error <= tolerance)


@contextmanager
def quiet(model: Any) -> Iterator[None]:
    """No gradients, no dropout; afterwards every module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        with torch.no_grad():
            yield model.eval()
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def narrow_windows(model: Any) -> Iterator[None]:
    """With every window so narrow that short rows reach beyond it.

    A model that gives its window to the mask but not to the attention would otherwise be found out
    only by rows of thousands of tokens.
    """
    before = [
        (holder, name, value)
        for holder in (*configs_of(model), *model.modules())
        for name, value in vars(holder).items()
        if WINDOW.fullmatch(name) and type(value) is int and value > NARROW
    ]
    try:
        for holder, name, _ in before:
            setattr(holder, name, NARROW)
        yield
    finally:
        for holder, name, value in before:
            setattr(holder, name, value)


def one_line(error: BaseException) -> str:
    """An error in a few words, on one line."""
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 200 else f"{text[:199]}…"
