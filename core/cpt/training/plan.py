"""All that is decided before a model is loaded: which pairs, in which order, how."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import attrs
import pyarrow as pa
import pyarrow.parquet as pq

from cpt.errors import CptError
from cpt.files import as_written, atomic, from_json, json_text, write_text
from cpt.models import code_mark, folder_of, weights_digest
from cpt.models.folders import refuse_classifier
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
    | {"router_aux_loss"}
)
"""Options without which a training is what it was before there were these."""


ORDER = pa.schema(
    {"step": pa.int32(), "pair": pa.string(), "tier": pa.int32(), "margin": pa.float64()}
)
ROWS = 2**16
"""Rows of the order that are written together."""


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
    refuse_classifier(folder)
    encoder = PairEncoder.of(folder, options)
    corpus, diagnosis = _trainable(pairs, encoder, loss, day)
    refuse_errors(diagnosis, options.allow)
    order, phases = _scheduled(corpus, scheduler, loss, encoder.options, seed)
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


def _scheduled(
    corpus: Corpus, scheduler: Scheduler, loss: Loss, options: Training, seed: int
) -> tuple[list[list[int]], Sequence[Phase]]:
    """The batches, and the looks at the model between them. Raises `CptError`."""
    order = order_of(corpus.pairs, scheduler, options, seed)
    factor(len(order) - 1, len(order), options)  # whether the learning rate has that many steps
    phases = phases_of(corpus.pairs, scheduler, options, len(order))
    _refuse_phases(phases, scheduler, loss, options)
    return order, phases


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
    parts: dict[str, Iterable[bytes]] = {
        "models": _json([weights_digest(folder) + code_mark(folder, **trust) for folder in models]),
        "loss": _json({"name": plan.loss.name, **attrs.asdict(plan.loss)}),
        "options": _json(attrs.asdict(plan.options, filter=_decides)),
        "seed": _json(plan.seed),
        "sequences": _json(_hash([corpus.sequences.digests.tobytes()])),
        "sides": _json(_hash([corpus.chosen.tobytes(), corpus.rejected.tobytes()])),
        "order": _listed(map(_one_json, plan.order)),
        "pairs": _listed(corpus.facts.texts()),
        "weights": _listed(map(_one_json, corpus.weights.tolist())),
    }
    if plan.phases:
        parts["scheduler"] = _json({"name": plan.scheduler.name, **attrs.asdict(plan.scheduler)})
    if plan.held_out:
        measured = plan.held_out.corpus
        sides = [measured.chosen.tobytes(), measured.rejected.tobytes()]
        parts["held_out"] = _json([_hash([measured.sequences.digests.tobytes()]), _hash(sides)])
    return _hash(_mapped(parts))


def _mapped(parts: Mapping[str, Iterable[bytes]]) -> Iterator[bytes]:
    """A mapping as one JSON text, piece by piece: the whole would not fit in memory."""
    for number, name in enumerate(sorted(parts)):
        yield f'{", " if number else "{"}"{name}": '.encode()
        yield from parts[name]
    yield b"}"


def _listed(texts: Iterable[bytes]) -> Iterator[bytes]:
    """A list as JSON, of the texts of what is in it."""
    yield b"["
    for number, text in enumerate(texts):
        yield b", " + text if number else text
    yield b"]"


def _json(value: Any) -> list[bytes]:
    return [_one_json(value)]


def _one_json(value: Any) -> bytes:
    return json.dumps(value, default=str, sort_keys=True).encode()


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
    schema = ORDER.append(pa.field("score", pa.float64())) if scores else ORDER
    rows = _rows_of(plan, order, scores)
    with atomic(output / "order.parquet") as temporary, pq.ParquetWriter(temporary, schema) as file:
        while some := list(islice(rows, ROWS)):
            file.write_table(pa.Table.from_pylist(some, schema))


def _rows_of(
    plan: Plan, order: Sequence[Sequence[int]], scores: Sequence[Sequence[float | None]]
) -> Iterator[dict[str, Any]]:
    """A row for each pair of each step."""
    for step, batch in enumerate(order):
        for index in batch:
            facts = plan.corpus.facts[index]
            row = {"step": step + 1, "pair": facts.id, "tier": facts.tier, "margin": facts.margin}
            yield row | ({"score": scores[step][index]} if scores else {})


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
