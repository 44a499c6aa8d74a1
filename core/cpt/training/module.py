"""The module that is trained: a loaded model, made trainable, on its device."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from cpt.errors import CptError
from cpt.training.accelerator import is_sharded
from cpt.training.forward.loading.formats import multiply_in_float8
from cpt.training.forward.loading.model import compile_layers, load_model, made_trainable
from cpt.training.forward.logps import SequenceLogps
from cpt.training.forward.scores import SequenceScores
from cpt.training.options import Training
from cpt.training.planning.plan import Plan

log = logging.getLogger(__name__)


def trained_module(plan: Plan, accelerator: Accelerator) -> SequenceLogps:
    """The module of a plan. Raises `CptError` if its model cannot be trained so."""
    model = loaded(plan.folder, plan.options)
    sharded = is_sharded(accelerator)
    # One device may not hold a sharded model; a quantized one is where it belongs.
    if not (sharded or plan.options.weights == "nf4"):
        model.to(accelerator.device)
    if sharded and "score" in plan.loss.needs:
        raise CptError(
            f"The loss {plan.loss.name!r} cannot train a sharded model; use DDP or one process."
        )
    kind = SequenceScores if "score" in plan.loss.needs else SequenceLogps
    module = kind(made_trainable(model, plan.options))
    in_precision(module, plan.options, accelerator.device)
    if plan.options.router_aux_loss is not None:
        module.record_routing()
    _mention_rows_alone(module, plan, sharded=sharded)
    if plan.options.compile:
        _compile(model, compact=module.layout.compact)
    return module


def in_precision(module: SequenceLogps, options: Training, device: torch.device) -> None:
    """Let a module multiply as the options say; autocast does that for bf16. Raises `CptError`."""
    # After its layout was found: float8 rounds so much that two layouts seem to differ.
    if options.precision == "fp32" and device.type != "cpu":
        log.warning(
            "train.precision: fp32 leaves the matrix units of this device unused; bf16 is many "
            "times as fast."
        )
    if options.precision == "fp8":
        multiply_in_float8(module.causal, module.causal.get_output_embeddings(), device)


def _compile(model: Any, *, compact: bool) -> None:
    """Compile the layers, unless `compact` lays their rows out again between all their parts.

    The pieces in between took 300 s to compile for two tiny layers, and were no faster.
    """
    if compact:
        log.warning(
            "train.compile: left out, as the rows of this model are padded: its layers would be "
            "compiled in many small pieces, which takes minutes and saves nothing."
        )
    else:
        compile_layers(model)


def loaded(folder: Path, options: Training) -> Any:
    """A model in the format that the options say."""
    return load_model(folder, trust_remote_code=options.trust_remote_code, weights=options.weights)


def _mention_rows_alone(module: SequenceLogps, plan: Plan, *, sharded: bool) -> None:
    """Say how many rows cannot share a call; raise `CptError` if the model is sharded."""
    longest = module.layout.longest
    if longest is None:
        return
    lengths = plan.corpus.sequences.input_lengths
    alone = int((lengths > longest).sum())
    if alone and sharded:
        raise CptError(
            f"{plan.folder}: {alone} of {len(lengths)} answers must be computed one at a time, "
            "which a sharded model cannot do; train it without sharding"
            + (f", or set train.max_length to {longest}." if longest else ".")
        )
    if alone and longest:
        log.warning(
            "%d of %d answers have more than %d tokens with their prompts: what this model "
            "computes then depends on the longest row of a call, so each is computed alone.",
            alone,
            len(lengths),
            longest,
        )
