"""The pairs of one optimizer step: shared by processes, cut into micro-batches, made a `Batch`."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

import attrs
import torch
from torch import Tensor

from cpt.roles import Loss
from cpt.training.data.columns.blocks import ABSENT
from cpt.training.data.corpus import Corpus
from cpt.training.data.inputs import ModelInputs, copied
from cpt.training.data.packing import Layout, model_inputs, token_count
from cpt.types import Batch, Logps, TokenLogps


@attrs.frozen
class PromptGroup:
    """Pairs of one prompt, and their distinct sequences: what is computed together."""

    pairs: tuple[int, ...]
    """Indices of pairs in the corpus."""
    sequences: tuple[int, ...]
    """Indices of sequences in the corpus."""


@attrs.frozen(eq=False, kw_only=True)
class MicroBatch:
    """Pairs that go through the model in one call."""

    inputs: ModelInputs
    sequences: tuple[int, ...]
    """Index in the corpus of each sequence of `inputs`. Shape (sequences,)."""
    pairs: tuple[int, ...] = ()
    """Indices of the pairs in the corpus."""
    chosen: tuple[int, ...] = ()
    """Number in `sequences` of each pair's chosen side; `ABSENT` if there is none."""
    rejected: tuple[int, ...] = ()
    """Number in `sequences` of each pair's rejected side; `ABSENT` if it is not computed."""


def group_by_prompt(
    pairs: Iterable[int], corpus: Corpus, loss: Loss, max_tokens: int, layout: Layout
) -> list[PromptGroup]:
    """Pairs by prompt, so that answers which several pairs share are computed once.

    A group that would hold more than `max_tokens` is closed, and another one begun.
    """
    both = "rejected" in loss.needs
    unfinished: dict[int, PromptGroup] = {}
    finished: list[PromptGroup] = []
    for pair in pairs:
        prompt = int(corpus.prompts[pair])
        named = (int(corpus.chosen[pair]), *([int(corpus.rejected[pair])] if both else []))
        sides = tuple(side for side in named if side != ABSENT)
        group = unfinished.get(prompt, PromptGroup((), ()))
        sequences = tuple(dict.fromkeys((*group.sequences, *sides)))
        if group.pairs and _tokens(sequences, corpus, layout) > max_tokens:
            finished.append(group)
            group, sequences = PromptGroup((), ()), tuple(dict.fromkeys(sides))
        unfinished[prompt] = PromptGroup((*group.pairs, pair), sequences)
    return [*finished, *unfinished.values()]


def split_between_processes(
    groups: Sequence[PromptGroup], corpus: Corpus, processes: int
) -> list[list[PromptGroup]]:
    """The groups of each process, about as many tokens in each; one may get none."""
    sizes = [
        sum(corpus.sequences[index].input_length for index in group.sequences) for group in groups
    ]
    shares: list[list[PromptGroup]] = [[] for _ in range(processes)]
    loads = [(0, process) for process in range(processes)]
    for number in sorted(range(len(groups)), key=lambda number: (-sizes[number], number)):
        load, process = heapq.heappop(loads)
        shares[process].append(groups[number])
        heapq.heappush(loads, (load + sizes[number], process))
    return shares


def micro_batches(
    groups: Sequence[PromptGroup], corpus: Corpus, max_tokens: int, layout: Layout
) -> list[MicroBatch]:
    """Cut groups into micro-batches of at most `max_tokens` tokens; no group is cut."""
    sequences = [[corpus.sequences[index] for index in group.sequences] for group in groups]
    return [
        _micro_batch(inputs, [groups[number] for number in inputs.groups], corpus)
        for inputs in model_inputs(sequences, max_tokens, layout)
    ]


def _tokens(sequences: Iterable[int], corpus: Corpus, layout: Layout) -> int:
    return token_count([corpus.sequences[index] for index in sequences], layout)


def _micro_batch(inputs: ModelInputs, groups: Sequence[PromptGroup], corpus: Corpus) -> MicroBatch:
    sequences: list[int] = []
    chosen: list[int] = []
    rejected: list[int] = []
    for group in groups:
        numbers = {index: number for number, index in enumerate(group.sequences, len(sequences))}
        sequences += group.sequences
        chosen += [numbers.get(int(corpus.chosen[pair]), ABSENT) for pair in group.pairs]
        rejected += [numbers.get(int(corpus.rejected[pair]), ABSENT) for pair in group.pairs]
    return MicroBatch(
        inputs=inputs,
        sequences=tuple(sequences),
        pairs=tuple(pair for group in groups for pair in group.pairs),
        chosen=tuple(chosen),
        rejected=tuple(rejected),
    )


def batch_of(
    micro_batch: MicroBatch,
    flat: Tensor,
    reference: Tensor | None,
    corpus: Corpus,
    loss: Loss,
    *,
    progress: float,
    carried: Mapping[str, float] | None = None,
    mismatched: Logps | None = None,
) -> Batch:
    """What the loss sees of a micro-batch, given the log-probability of each answer token.

    `flat` and `reference` have shape (answer tokens,).
    """
    device = flat.device
    logps = _logps(micro_batch.inputs, flat, reference, loss)
    unpaired = loss.unpaired and corpus.is_unpaired

    def side(numbers: Sequence[int]) -> Logps:
        found = copied(numbers, device)
        if not unpaired:
            return logps.select(found)
        return logps.select(found.clamp(min=0)).where(found != ABSENT)

    facts = [corpus.facts[index] for index in micro_batch.pairs]
    return Batch(
        ids=tuple(fact.id for fact in facts),
        prompt_infos=tuple(fact.prompt_info for fact in facts),
        chosen=side(micro_batch.chosen),
        rejected=side(micro_batch.rejected) if "rejected" in loss.needs else None,
        tier=copied([fact.tier for fact in facts], device),
        margin=_values((fact.margin for fact in facts), device),
        chosen_score=_values((fact.chosen_score for fact in facts), device),
        rejected_score=_values((fact.rejected_score for fact in facts), device),
        progress=progress,
        carried=carried or {},
        mismatched=mismatched,
    )


def pair_weights(pairs: Iterable[int], corpus: Corpus, device: torch.device) -> Tensor:
    """What the loss of each pair is multiplied by. Shape (pairs,)."""
    return _values(corpus.weights[list(pairs)].tolist(), device)


def _logps(inputs: ModelInputs, flat: Tensor, reference: Tensor | None, loss: Loss) -> Logps:
    """Log-probabilities of each sequence of a micro-batch."""
    return Logps(
        policy=inputs.sums(flat),
        length=copied(inputs.lengths, flat.device),
        reference=None if reference is None else inputs.sums(reference),
        tokens=_token_logps(inputs, flat, reference) if "tokens" in loss.needs else None,
        scored="score" in loss.needs,
    )


def _token_logps(inputs: ModelInputs, flat: Tensor, reference: Tensor | None) -> TokenLogps:
    policy, mask = inputs.padded(flat)
    padded = None if reference is None else inputs.padded(reference)[0]
    return TokenLogps(policy=policy, reference=padded, mask=mask)


def _values(values: Iterable[float | None], device: torch.device) -> Tensor:
    filled = [float("nan") if value is None else float(value) for value in values]
    return copied(filled, device, torch.float32)
