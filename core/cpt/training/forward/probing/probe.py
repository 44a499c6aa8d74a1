"""What a model allows, found by trying: a few rows are computed each way and compared.

No list of architectures is ever complete. So each layout is tried on the model, and used only if
it gives the log-probabilities that the model itself gives for one row after another: token ids
alone, no padding. With several processes, all of them do what the first one found.

Rows are computed outside the training's autocast, in the precision of the weights. Kernels that
only bf16 selects (`varlen`, and `blockwise` where there is no mask) are therefore not tried on a
model in fp32: tests compare them with plain attention.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import attrs
from torch import Tensor

from cpt.errors import CptError
from cpt.training.data.inputs import ModelInputs
from cpt.training.data.packing import Layout
from cpt.training.forward.agreement import agreed
from cpt.training.forward.architecture import (
    backbone_of,
    costs_of,
    is_recurrent,
    longest_together,
    why_not_packed,
)
from cpt.training.forward.attention import packed
from cpt.training.forward.compact import make_compact
from cpt.training.forward.head import Head
from cpt.training.forward.probing import trial

log = logging.getLogger(__name__)

Score = Callable[[ModelInputs], Tensor]

PROVEN = frozenset(
    {"cohere", "cohere2", "gemma", "gemma2", "gemma3_text", "glm", "glm4", "gpt2", "gpt_neox"}
    | {"granite", "llama", "mistral", "mixtral", "olmo", "olmo2", "phi", "phi3", "qwen2", "qwen3"}
    | {"qwen3_moe", "smollm3", "starcoder2"}
)
"""Model types that tests pack: believed where a model cannot be tried."""


def find_head(model: Any) -> Head | None:
    """The head of a causal language model, or None (and a warning) if it is unknown."""
    output = model.get_output_embeddings()
    number = agreed(lambda: None if output is None else _head_number(model))
    if number is not None:
        return list(_heads(model))[number]
    if output is not None:
        log.warning("%s: its head is unknown, so all its logits are computed.", _name(model))
    return None


def find_layout(model: Any, score: Score) -> Layout:
    """The best layout in which `score` gives the log-probabilities of sequences one by one.

    Gives the model an attention that can be packed, if it is. What cannot be packed, or share
    prompts, is a warning; recurrent layers are packed without sharing. Raises `CptError` for a
    model whose log-probabilities mean nothing: one that looks ahead, or gives other results each
    time.
    """
    layout: Layout = agreed(lambda: _found_layout(model, score))
    if layout.packed:
        model.set_attn_implementation(packed.NAME)
    if layout.compact:
        make_compact(model)
    agreed(lambda: _refuse_without_gradient(model, score, layout))
    return layout


def _head_number(model: Any) -> int | None:
    """Which of `_heads` turns hidden states into the model's own logits."""
    backbone = backbone_of(model)
    if backbone is None or _is_meta(model):
        return 0 if backbone is not None and _is_proven(model) else None
    with trial.quiet(model):
        ids = trial.ids_of(model, 0, 7)[None]
        logits = _run(model, "its logits", lambda: model(input_ids=ids, use_cache=False)).logits
        try:
            hidden = backbone(input_ids=ids, use_cache=False).last_hidden_state
            for number, head in enumerate(_heads(model)):
                if trial.same(model, head.logits(hidden), logits.float()):
                    return number
        except trial.FAILURES:
            return None
    return None


def _heads(model: Any) -> Iterator[Head]:
    """The heads that a model's configuration may mean, the likeliest first."""
    config = model.config.get_text_config()
    scales = [
        power
        for name in ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
        if (scale := getattr(config, name, None))
        for power in ((1 / scale, scale) if name == "logits_scaling" else (scale,))
    ]
    softcap = getattr(config, "final_logit_softcapping", None)
    for scale, cap in product([*scales, 1.0], [softcap, None] if softcap else [None]):
        yield Head(output=model.get_output_embeddings(), scale=scale, softcap=cap)


def _found_layout(model: Any, score: Score) -> Layout:
    longest = longest_together(model)
    if _is_meta(model):
        if why_not_packed(model) is None and _is_proven(model):
            return attrs.evolve(costs_of(model), longest=longest)
        return _warned(model, Layout(longest=0), "its weights are not here to try more")
    with trial.quiet(model), trial.narrow_windows(model):
        sequences = trial.sequences_of(model)
        wanted = _run(model, "log-probabilities", lambda: trial.one_by_one(model, sequences))
        _refuse_unreliable(model, sequences, wanted)

        def differs(layout: Layout) -> str | None:
            return trial.differs(model, score, layout, sequences, wanted)

        found = _packed_layout(model, longest, differs)
        if isinstance(found, Layout):
            return found if found.shared or found.bounded else _unshared(model, found)
        reason = found
        layout = Layout(compact=True, longest=longest)
        with _compact(model):
            if differs(layout) is None:
                return _warned(model, layout, reason)
        layout = Layout(longest=longest)
        if (worse := differs(layout)) is None:
            return _warned(model, layout, reason)
        layout = Layout(longest=0)
        if (wrong := differs(layout)) is None:
            return _warned(model, layout, f"its results change when rows are padded{worse}")
    raise CptError(
        f"{_name(model)}: one row at a time gives other results too{wrong}; it cannot be trained."
    )


def _packed_layout(
    model: Any, longest: int | None, differs: Callable[[Layout], str | None]
) -> Layout | str:
    """The best layout that packs, or why there is none."""
    reason = why_not_packed(model)
    if reason and not is_recurrent(model):
        return reason
    best = Layout(packed=True, bounded=True) if reason else costs_of(model)
    best = attrs.evolve(best, longest=longest)
    why: str | None = ""
    with _packable(model):
        for layout in (best, attrs.evolve(best, shared=False))[: 1 + best.shared]:
            if (why := differs(layout)) is None:
                return layout
    if reason:
        return f"{reason}{why if 'packed sequences' in str(why) else ''}"  # it names a package
    return f"its results change when they are packed{why}"


def _unshared(model: Any, layout: Layout) -> Layout:
    log.warning(
        "%s: answers cannot share a prompt, so each is computed with its own.", _name(model)
    )
    return layout


def _warned(model: Any, layout: Layout, reason: str) -> Layout:
    padded = "padded, except in MLPs and projections" if layout.compact else "padded"
    how = padded if layout.longest != 0 else "computed one at a time, which is slow"
    log.warning("%s: sequences are %s, as %s.", _name(model), how, reason)
    return layout


def _refuse_unreliable(model: Any, sequences: trial.Sequences, wanted: Tensor) -> None:
    """Raise `CptError` for a model whose log-probabilities are not those of a language model."""
    again = trial.one_by_one(model, sequences)
    if not trial.same(model, again, wanted):
        raise CptError(
            f"{_name(model)}: gives other results for the same row each time, so that nothing can "
            "be compared; it cannot be trained."
        )
    if trial.looks_ahead(model, sequences):
        may_be_one = getattr(model.config, "is_decoder", None) is False
        hint = " (is_decoder: true in its config.json may make it one)" if may_be_one else ""
        raise CptError(
            f"{_name(model)}: what it predicts depends on the tokens that follow, as in an "
            f"encoder; only causal language models can be trained{hint}."
        )


def _refuse_without_gradient(model: Any, score: Score, layout: Layout) -> None:
    """Raise `CptError` for a model that can be computed but not trained."""
    if _is_meta(model):
        return
    with trial.quiet(model):
        shortest = min(trial.sequences_of(model), key=lambda sequence: sequence.input_length)
        _run(model, "the gradient", lambda: trial.gradient(model, score, layout, shortest))


def _run(model: Any, what: str, compute: Callable[[], Any]) -> Any:
    try:
        return compute()
    except trial.FAILURES as error:
        raise CptError(
            f"{_name(model)}: cannot compute {what} of a few tokens of text "
            f"({trial.one_line(error)}); it cannot be trained."
        ) from error


@contextmanager
def _packable(model: Any) -> Iterator[None]:
    """With the attention that can be packed; afterwards with its own."""
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(packed.NAME)
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def _compact(model: Any) -> Iterator[None]:
    """With parts that leave out padding; afterwards without."""
    undo = make_compact(model)
    try:
        yield
    finally:
        undo()


def _is_proven(model: Any) -> bool:
    return model.config.model_type in PROVEN and longest_together(model) is None


def _is_meta(model: Any) -> bool:
    return any(parameter.is_meta for parameter in model.parameters())


def _name(model: Any) -> str:
    return type(model).__name__
