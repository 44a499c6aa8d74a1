"""All that is decided before a model is loaded: which pairs, in which order, how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.parquet as pq

from cpt.errors import CptError, during
from cpt.files import atomic, write_text
from cpt.models import folder_of, load_tokenizer, weights_digest
from cpt.roles import Component, Loss, Scheduler
from cpt.training.data.corpus import Corpus, mismatch
from cpt.training.data.findings import Report, refuse_none_left
from cpt.training.data.prepare import prepare
from cpt.training.forward.loading import vocabulary, within_positions
from cpt.training.options import Training
from cpt.types import Pair


@attrs.frozen(eq=False, kw_only=True)
class Plan:
    """A training, before it begins."""

    folder: Path
    """Of the model that is trained."""
    reference: Path
    """Of the model that it is compared with."""
    tokenizer: Any
    corpus: Corpus
    report: Report
    order: Sequence[Sequence[int]]
    """Pairs of each optimizer step, as places in the corpus."""
    mismatched: Sequence[Sequence[int]]
    """If the loss needs them: for each place of `order`, a sequence with another's answer."""
    scheduler: Scheduler
    loss: Loss
    options: Training
    seed: int
    digest: str
    """Names the training: another digest is another training."""

    @property
    def steps(self) -> int:
        return len(self.order)


def make_plan(
    pairs: Sequence[Pair],
    model: Path,
    scheduler: Scheduler,
    loss: Loss,
    options: Training,
    seed: int,
) -> Plan:
    """Check everything that can be wrong without loading the model. Raises `CptError`."""
    folder = folder_of(model)
    reference = folder_of(options.reference) if options.reference else folder
    options = within_positions(options, folder)
    tokenizer = load_tokenizer(folder)
    corpus, report = prepare(pairs, tokenizer, options, vocabulary(folder))
    refuse_none_left(report)
    order = _order(corpus, scheduler, options, seed)
    mismatched: list[list[int]] = []
    if "mismatched" in loss.needs:
        corpus, mismatched = mismatch(corpus, order, options.max_length)
    parts = {
        "models": [weights_digest(folder), weights_digest(reference)],
        "loss": written(loss),
        "options": attrs.asdict(options, filter=_decides),
        "seed": seed,
        "sequences": _hash(corpus.keys),
        "sides": _hash([corpus.chosen.tobytes(), corpus.rejected.tobytes()]),
        "order": order,
        "weights": [pair.weight for pair in corpus.pairs],
    }
    return Plan(
        folder=folder,
        reference=reference,
        tokenizer=tokenizer,
        corpus=corpus,
        report=report,
        order=order,
        mismatched=mismatched,
        scheduler=scheduler,
        loss=loss,
        options=options,
        seed=seed,
        digest=_hash([json.dumps(parts, default=str).encode()]),
    )


def write_plan(plan: Plan, output: Path) -> None:
    """`order.parquet`: which pair is trained on at which step; `doctor.json`: what was wrong."""
    steps = [step for step, batch in enumerate(plan.order, 1) for _ in batch]
    places = [place for batch in plan.order for place in batch]
    pairs = [plan.corpus.pairs[place] for place in places]
    table = pa.table(
        {
            "step": pa.array(steps, pa.int32()),
            "pair": [pair.id for pair in pairs],
            "tier": pa.array([pair.tier for pair in pairs], pa.int32()),
            "margin": pa.array([pair.margin for pair in pairs], pa.float64()),
        }
    )
    with atomic(output / "order.parquet") as temporary:
        pq.write_table(table, temporary)
    found = attrs.asdict(plan.report) | {"counts": plan.report.counts}
    write_text(output / "doctor.json", json.dumps(found, indent=1))


def written(component: Component) -> dict[str, Any]:
    """A component as plain data."""
    return {"name": component.name, **attrs.asdict(component)}


def _order(corpus: Corpus, scheduler: Scheduler, options: Training, seed: int) -> list[list[int]]:
    with during(f"the scheduler {scheduler.name!r} ordered {len(corpus.pairs)} pairs"):
        batches = scheduler.batches(corpus.pairs, options.batch_size, seed, options.epochs)
        order = [[int(place) for place in batch] for batch in batches]
    for place in (place for batch in order for place in batch):
        if not 0 <= place < len(corpus.pairs):
            raise CptError(
                f"Scheduler {scheduler.name!r} asks for pair {place} of {len(corpus.pairs)}."
            )
    order = [batch for batch in order if batch]
    if not order:
        raise CptError(f"Scheduler {scheduler.name!r} gives no batch of {len(corpus.pairs)} pairs.")
    return order


def _decides(field: attrs.Attribute[Any], _: Any) -> bool:
    """Whether an option changes what is trained; a resumed training may change the others."""
    return bool(field.metadata.get("identity", True))


def _hash(parts: Any) -> str:
    state = hashlib.blake2b(digest_size=16)
    for part in parts:
        state.update(part)
    return state.hexdigest()
