"""All that is decided before a model is loaded: which pairs, in which order, how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.parquet as pq

from cpt.errors import CptError
from cpt.files import as_written, atomic, from_json, json_text, write_text
from cpt.models import code_mark, folder_of, weights_digest
from cpt.roles import Loss, Phase, Scheduler
from cpt.training.data.corpus import Corpus, mismatch
from cpt.training.data.endings import read_to_the_end
from cpt.training.data.findings import Diagnosis, refuse_errors, refuse_none_left
from cpt.training.encoder import PairEncoder
from cpt.training.forward.loading.formats import refuse_without_nf4
from cpt.training.loss.checks import refuse_wrong_needs
from cpt.training.optimizer.adamw import refuse_without_torchao
from cpt.training.optimizer.schedule import factor
from cpt.training.options import Training
from cpt.training.order import order_of, phases_of
from cpt.types import Pair
from cpt.types.batch import PairFacts

DOCTOR = "doctor.json"
THROUGH_DATA = frozenset(
    {"epochs", "batch_size", "max_length", "max_prompt_length", "truncate", "reference"}
    | {"chat_template_kwargs"}
)
"""Options that act only through the sequences, the order and the reference's weights."""
ASIDE = frozenset({"export_dtype", "evaluators"})
"""Options of what is written when all is learned, and of what nothing is learned from."""

ONLY_IF_GIVEN = frozenset(
    {"eval_every", "evaluators_every", "evaluators_limit", "keep_best", "patience"}
)
"""Options without which a training is what it was before there were these."""


@attrs.frozen(eq=False, kw_only=True)
class Plan:
    """A training, before it begins."""

    folder: Path
    """Of the model that is trained."""
    reference: Path
    """Of the model that it is compared with."""
    tokenizer: Any
    corpus: Corpus
    diagnosis: Diagnosis
    order: Sequence[Sequence[int]]
    """The batch of each optimizer step, as indices of pairs in the corpus.

    With `phases`, as it would be if all pairs were alike to the model.
    """
    mismatched: Sequence[Sequence[int]]
    """If the loss needs it: for each pair of each batch, a sequence with another's answer."""
    scheduler: Scheduler
    loss: Loss
    options: Training
    seed: int
    phases: Sequence[Phase] = ()
    """What is ordered only as training goes; empty if everything is ordered before."""
    held_out: Plan | None = None
    """The same for the pairs that it is measured on as it goes: all of them at every step."""

    @property
    def steps(self) -> int:
        return len(self.order)

    @cached_property
    def digest(self) -> str:
        """A digest of all that decides what is trained: another digest is another training."""
        return digest_of(self)


def make_plan(
    pairs: Sequence[Pair],
    model: Path,
    scheduler: Scheduler,
    loss: Loss,
    options: Training,
    seed: int,
    *,
    held_out: Sequence[Pair] = (),
    day: date | None = None,
) -> Plan:
    """Check everything that can be wrong without loading the model. Raises `CptError`.

    A chat template that asks for the date is given `day`, or today.
    """
    refuse_wrong_needs(loss)
    _refuse_without_libraries(options)
    folder = folder_of(model)
    reference = folder_of(options.reference) if options.reference else folder
    encoder = PairEncoder.of(folder, options)
    corpus, diagnosis = _trainable(pairs, encoder, loss, day)
    refuse_errors(diagnosis, options.allow)
    order = order_of(corpus.pairs, scheduler, encoder.options, seed)
    factor(len(order) - 1, len(order), options)
    phases = phases_of(corpus.pairs, scheduler, encoder.options, len(order))
    _refuse_phases(phases, scheduler, loss, options)
    corpus, mismatched = _mismatched(corpus, order, encoder, loss)
    plan = Plan(
        folder=folder,
        reference=reference,
        tokenizer=encoder.tokenizer,
        corpus=corpus,
        diagnosis=diagnosis,
        order=order,
        mismatched=mismatched,
        scheduler=scheduler,
        loss=loss,
        options=encoder.options,
        seed=seed,
        phases=phases,
    )
    return _with_held_out(plan, held_out, encoder, day) if held_out else plan


def _refuse_phases(
    phases: Sequence[Phase], scheduler: Scheduler, loss: Loss, options: Training
) -> None:
    """Raise `CptError` for what cannot be together with looks at the model."""
    if any(phase.score for phase in phases) and "mismatched" in loss.needs:
        raise CptError(
            f"The loss {loss.name!r} compares with the answers of other pairs in a batch, which "
            f"the scheduler {scheduler.name!r} decides only as training goes; choose another one."
        )
    best = options.keep_best
    relative = best and "reference" in loss.needs and not options.is_asked_for(best)
    if relative and any(phase.refresh for phase in phases):
        raise CptError(
            f"train.keep_best compares steps by {best}, but the scheduler {scheduler.name!r} "
            "renews the reference that it is measured against; leave one (scheduler.refresh)."
        )


def _with_held_out(
    plan: Plan, pairs: Sequence[Pair], encoder: PairEncoder, day: date | None
) -> Plan:
    """The plan with that of the pairs that it is measured on. Raises `CptError`."""
    try:
        corpus, diagnosis = _trainable(pairs, encoder, plan.loss, day)
        everything = list(range(len(corpus.pairs)))
        corpus, mismatched = _mismatched(corpus, [everything], encoder, plan.loss)
    except CptError as error:
        raise CptError(f"The held-out pairs: {error}") from error
    times = plan.steps + 1
    measured = attrs.evolve(
        plan,
        corpus=corpus,
        diagnosis=diagnosis,
        order=[everything] * times,
        mismatched=mismatched * times,
    )
    return attrs.evolve(plan, held_out=measured)


def _refuse_without_libraries(options: Training) -> None:
    refuse_without_torchao(options)
    if options.weights == "nf4":
        refuse_without_nf4()


def _trainable(
    pairs: Sequence[Pair], encoder: PairEncoder, loss: Loss, day: date | None
) -> tuple[Corpus, Diagnosis]:
    """The pairs that can be trained on, as the model reads them, and what is wrong with the rest.

    A loss that needs scores trains a reward model, which reads to the end. Raises `CptError` if no
    pair is left.
    """
    corpus, diagnosis = encoder.prepare(pairs, loss=loss, day=day)
    refuse_none_left(diagnosis)
    if "score" in loss.needs:
        corpus = read_to_the_end(corpus, encoder.tokenizer)
    return corpus, diagnosis


def _mismatched(
    corpus: Corpus, order: Sequence[Sequence[int]], encoder: PairEncoder, loss: Loss
) -> tuple[Corpus, list[list[int]]]:
    """The corpus with the answers of other prompts, and where they are, if the loss needs them."""
    if "mismatched" not in loss.needs:
        return corpus, []
    return mismatch(corpus, order, encoder.options.max_length)


def digest_of(plan: Plan) -> str:
    """A digest of the models, the loss, the options, the sequences, their order and the pairs.

    Of a pair all that a loss sees (`PairFacts`), and its weight.
    """
    corpus = plan.corpus
    # A reference that is the starting model itself is exactly that at the first step; a copy of
    # it only up to rounding.
    models = dict.fromkeys([plan.folder, plan.reference])
    trust = {"trust_remote_code": plan.options.trust_remote_code}
    parts = {
        "models": [weights_digest(folder) + code_mark(folder, **trust) for folder in models],
        "loss": {"name": plan.loss.name, **attrs.asdict(plan.loss)},
        "options": attrs.asdict(plan.options, filter=_decides),
        "seed": plan.seed,
        "sequences": _hash(corpus.digests),
        "sides": _hash([corpus.chosen.tobytes(), corpus.rejected.tobytes()]),
        "order": plan.order,
        "pairs": [attrs.asdict(PairFacts.of(pair), recurse=False) for pair in corpus.pairs],
        "weights": [pair.weight for pair in corpus.pairs],
    }
    if plan.phases:
        parts["scheduler"] = {"name": plan.scheduler.name, **attrs.asdict(plan.scheduler)}
    if plan.held_out:
        measured = plan.held_out.corpus
        sides = [measured.chosen.tobytes(), measured.rejected.tobytes()]
        parts["held_out"] = [_hash(measured.digests), _hash(sides)]
    return _hash([json.dumps(parts, default=str, sort_keys=True).encode()])


def write_plan(plan: Plan, output: Path) -> None:
    """`order.parquet`, if it is decided; `doctor.json`: what was wrong."""
    if not plan.phases:
        write_order(plan, plan.order, output)
    write_text(output / DOCTOR, json_text(plan.diagnosis.plain(), indent=1))


def write_order(
    plan: Plan,
    order: Sequence[Sequence[int]],
    output: Path,
    scores: Sequence[Sequence[float | None]] = (),
) -> None:
    """`order.parquet`: which pair is trained on at which step.

    `scores`, if there are any, are those that a step was ordered by, for each pair of the corpus.
    """
    rows = [(step, index) for step, batch in enumerate(order) for index in batch]
    pairs = [plan.corpus.pairs[index] for _, index in rows]
    columns = {
        "step": pa.array([step + 1 for step, _ in rows], pa.int32()),
        "pair": [pair.id for pair in pairs],
        "tier": pa.array([pair.tier for pair in pairs], pa.int32()),
        "margin": pa.array([pair.margin for pair in pairs], pa.float64()),
    }
    if scores:
        columns["score"] = pa.array([scores[step][index] for step, index in rows], pa.float64())
    with atomic(output / "order.parquet") as temporary:
        pq.write_table(pa.table(columns), temporary)


def day_of(output: Path) -> date | None:
    """The day that chat templates were given when the training in a folder began, if it did."""
    if not (output / DOCTOR).exists():
        return None
    with as_written(output / DOCTOR):
        return date.fromisoformat(from_json((output / DOCTOR).read_text())["day"])


def _decides(field: attrs.Attribute[Any], value: Any) -> bool:
    """Whether an option itself changes what is trained; a resumed training may change others."""
    elsewhere = THROUGH_DATA | ASIDE
    if field.name in ONLY_IF_GIVEN and value is None:
        return False
    return bool(field.metadata.get("identity", True)) and field.name not in elsewhere


def _hash(parts: Iterable[bytes]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
