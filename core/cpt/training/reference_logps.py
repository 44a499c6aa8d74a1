"""What the reference model makes of the pairs of a plan: read where it is kept, or computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from cpt.training.accelerator import is_sharded, micro_tokens_of
from cpt.training.data.columns.blocks import ABSENT
from cpt.training.forward.logps import SequenceLogps
from cpt.training.module import in_precision, loaded
from cpt.training.planning.plan import Plan
from cpt.training.reference.scoring import References, Scorer, references
from cpt.training.reference.store import Store, open_store, store_digest

Report = Callable[[int, int], None]
"""Called with how many tokens are done, of how many."""


def references_of_another(
    plan: Plan, accelerator: Accelerator, output: Path, report: Report
) -> tuple[References, References | None]:
    """As `both_references`, for a reference that is not the model training starts from."""
    model = loaded(plan.reference, plan.options)
    module = SequenceLogps(model.to(accelerator.device))
    in_precision(module, plan.options, accelerator.device)
    return both_references(plan, scorer_of(plan, accelerator, module), output, report)


def both_references(
    plan: Plan, scorer: Scorer, output: Path, report: Report
) -> tuple[References, References | None]:
    """Of the pairs that are trained on, and of those that are held out."""
    held_out = _references(plan.held_out, scorer, output, report) if plan.held_out else None
    return _references(plan, scorer, output, report), held_out


def _references(plan: Plan, scorer: Scorer, output: Path, report: Report) -> References:
    """Of all sequences that are read, from the store of the reference model or into it."""
    device = scorer.accelerator.device.type
    digest = store_digest(
        plan.reference,
        _computed_in(plan, scorer.accelerator),
        device,
        trust_remote_code=plan.options.trust_remote_code,
    )
    return references_of(plan, plan.order, scorer, open_store(output, digest), report)


def references_of(
    plan: Plan, batches: Sequence[Sequence[int]], scorer: Scorer, store: Store, report: Report
) -> References:
    """Of all sequences that are read in some batches, or whenever pairs are measured."""
    return references(plan.corpus.sequences, _read_in(plan, batches), scorer, store, report)


def _read_in(plan: Plan, batches: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Indices of those sequences, in ascending order."""
    corpus, both = plan.corpus, "rejected" in plan.loss.needs
    measured = any(phase.score for phase in plan.phases)
    pairs = np.arange(len(corpus.pairs)) if measured else _distinct(batches)
    sides = [side[pairs] for side in (corpus.chosen, *([corpus.rejected] if both else []))]
    found = np.unique(np.concatenate([*sides, _distinct(plan.mismatched)]))
    there: NDArray[np.int64] = found[found != ABSENT]
    return there


def _distinct(lists: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.fromiter(chain.from_iterable(lists), dtype=np.int64)
    return np.unique(found)


def _computed_in(plan: Plan, accelerator: Accelerator) -> str:
    """What decides the values of a model, besides its weights on the disk."""
    options = plan.options
    held = "" if options.weights == "fp32" else f" of {options.weights}"
    # What is gathered from its parts in bf16 is not cast back between its layers.
    sharded = is_sharded(accelerator) and plan.reference == plan.folder
    where = " in parts" if sharded and options.precision != "fp32" else ""
    return f"{options.precision}{held}{where}"


def scorer_of(plan: Plan, accelerator: Accelerator, module: SequenceLogps) -> Scorer:
    """What computes log-probabilities with a module, in calls of the size of a micro-batch."""
    max_tokens = micro_tokens_of(plan.options, accelerator.device.type)
    return Scorer(accelerator=accelerator, module=module, max_tokens=max_tokens)
