"""All that is decided before a model is loaded: which pairs, in which order, how."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import attrs

from cpt.errors import CptError
from cpt.models import code_mark, folder_of, weights_digest
from cpt.models.folders import refuse_classifier
from cpt.roles import Loss, Phase, Scheduler
from cpt.training.data.corpus import Corpus, mismatch
from cpt.training.data.endings import read_to_the_end
from cpt.training.data.findings import Diagnosis, refuse_errors, refuse_none_left
from cpt.training.forward.loading.formats import refuse_without_nf4
from cpt.training.loss.checks import refuse_wrong_needs
from cpt.training.optimizer.adamw import refuse_without_torchao
from cpt.training.optimizer.schedule import factor
from cpt.training.options import Training
from cpt.training.planning.digest import digest_of, hash_of, json_of, listed, one_json
from cpt.training.planning.encoder import PairEncoder
from cpt.training.planning.order import order_of, phases_of
from cpt.types import Pair

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
        return _digest(self)


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


def _digest(plan: Plan) -> str:
    """A digest of the models, the loss, the options, the sequences, their order and the pairs.

    Of a pair all that a loss sees (`PairFacts`), and its weight.
    """
    corpus = plan.corpus
    # A reference that is the starting model itself is exactly that at the first step; a copy of
    # it only up to rounding.
    models = dict.fromkeys([plan.folder, plan.reference])
    trust = {"trust_remote_code": plan.options.trust_remote_code}
    parts: dict[str, Iterable[bytes]] = {
        "models": json_of(
            [weights_digest(folder) + code_mark(folder, **trust) for folder in models]
        ),
        "loss": json_of({"name": plan.loss.name, **attrs.asdict(plan.loss)}),
        "options": json_of(attrs.asdict(plan.options, filter=_decides)),
        "seed": json_of(plan.seed),
        "sequences": json_of(hash_of([corpus.sequences.digests.tobytes()])),
        "sides": json_of(hash_of([corpus.chosen.tobytes(), corpus.rejected.tobytes()])),
        "order": listed(map(one_json, plan.order)),
        "pairs": listed(corpus.facts.texts()),
        "weights": listed(map(one_json, corpus.weights.tolist())),
    }
    if plan.phases:
        parts["scheduler"] = json_of({"name": plan.scheduler.name, **attrs.asdict(plan.scheduler)})
    if plan.held_out:
        measured = plan.held_out.corpus
        sides = [measured.chosen.tobytes(), measured.rejected.tobytes()]
        parts["held_out"] = json_of(
            [hash_of([measured.sequences.digests.tobytes()]), hash_of(sides)]
        )
    return digest_of(parts)


def _decides(field: attrs.Attribute[Any], value: Any) -> bool:
    """Whether an option itself changes what is trained; a resumed training may change others."""
    elsewhere = THROUGH_DATA | ASIDE
    if field.name in ONLY_IF_GIVEN and value is None:
        return False
    return bool(field.metadata.get("identity", True)) and field.name not in elsewhere
