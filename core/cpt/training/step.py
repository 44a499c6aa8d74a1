"""One optimizer step's pairs: divided over processes, cut into micro-batches, made a `Batch`."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence

import attrs
import torch
from torch import Tensor

from cpt.roles import Loss
from cpt.training.data.corpus import Corpus
from cpt.training.data.packing import Layout, Micro, microbatches, taken
from cpt.types import Batch, Logps, Pair, TokenLogps


@attrs.frozen
class Group:
    """Pairs of one prompt, and their distinct sequences: what is computed together."""

    pairs: tuple[int, ...]
    sequences: tuple[int, ...]


@attrs.frozen(eq=False, kw_only=True)
class Part:
    """Pairs that go through the model in one call."""

    micro: Micro
    sequences: tuple[int, ...]
    """What each row of `micro` is, as places in the corpus. Shape (rows,)."""
    pairs: tuple[int, ...] = ()
    """Places in the corpus."""
    chosen: tuple[int, ...] = ()
    """The row of each pair's chosen side. Shape (pairs,)."""
    rejected: tuple[int, ...] = ()
    """The row of each pair's rejected side. Shape (pairs,)."""


def grouped(
    pairs: Iterable[int], corpus: Corpus, loss: Loss, tokens: int, layout: Layout
) -> list[Group]:
    """Pairs by prompt, so that answers which several pairs share are computed once.

    A group that would hold more than `tokens` is closed, and another one begun.
    """
    both = "rejected" in loss.needs
    open_: dict[int, Group] = {}
    closed: list[Group] = []
    for pair in pairs:
        prompt = int(corpus.prompts[pair])
        sides = (int(corpus.chosen[pair]), *([int(corpus.rejected[pair])] if both else []))
        group = open_.get(prompt, Group((), ()))
        sequences = tuple(dict.fromkeys((*group.sequences, *sides)))
        if group.pairs and taken([corpus.sequences[each] for each in sequences], layout) > tokens:
            closed.append(group)
            group, sequences = Group((), ()), tuple(dict.fromkeys(sides))
        open_[prompt] = Group((*group.pairs, pair), sequences)
    return [*closed, *open_.values()]


def divided(groups: Sequence[Group], corpus: Corpus, processes: int) -> list[list[Group]]:
    """A share for each process, about as many tokens in each; a share may be empty."""
    sizes = [sum(corpus.sequences[each].inputs for each in group.sequences) for group in groups]
    shares: list[list[Group]] = [[] for _ in range(processes)]
    loads = [(0, process) for process in range(processes)]
    for index in sorted(range(len(groups)), key=lambda index: (-sizes[index], index)):
        load, process = heapq.heappop(loads)
        shares[process].append(groups[index])
        heapq.heappush(loads, (load + sizes[index], process))
    return shares


def cut(groups: Sequence[Group], corpus: Corpus, tokens: int, layout: Layout) -> list[Part]:
    """Micro-batches of at most `tokens`, each with what is in its rows."""
    rows = [[corpus.sequences[each] for each in group.sequences] for group in groups]
    return [
        _part(micro, [groups[index] for index in micro.groups], corpus)
        for micro in microbatches(rows, tokens, layout)
    ]


def _part(micro: Micro, groups: Sequence[Group], corpus: Corpus) -> Part:
    sequences: list[int] = []
    chosen: list[int] = []
    rejected: list[int] = []
    for group in groups:
        row = {each: len(sequences) + at for at, each in enumerate(group.sequences)}
        sequences += group.sequences
        chosen += [row[int(corpus.chosen[pair])] for pair in group.pairs]
        rejected += [row.get(int(corpus.rejected[pair]), -1) for pair in group.pairs]
    return Part(
        micro=micro,
        sequences=tuple(sequences),
        pairs=tuple(pair for group in groups for pair in group.pairs),
        chosen=tuple(chosen),
        rejected=tuple(rejected),
    )


def batch_of(
    part: Part,
    flat: Tensor,
    reference: Tensor | None,
    corpus: Corpus,
    loss: Loss,
    *,
    progress: float,
    mismatched: Logps | None = None,
) -> Batch:
    """What the loss sees of a part; `flat` and `reference` have shape (answer tokens,)."""
    micro, device = part.micro, flat.device
    policy = micro.sums(flat)
    base = None if reference is None else micro.sums(reference)
    lengths = torch.tensor(micro.lengths, device=device)
    tokens = _tokens(micro, flat, reference) if "tokens" in loss.needs else None

    def side(rows: Sequence[int]) -> Logps:
        at = torch.tensor(rows, device=device)
        return Logps(
            policy=policy[at],
            length=lengths[at],
            reference=None if base is None else base[at],
            tokens=None if tokens is None else _picked(tokens, at),
        )

    pairs = [corpus.pairs[index] for index in part.pairs]
    return Batch(
        chosen=side(part.chosen),
        rejected=side(part.rejected) if "rejected" in loss.needs else None,
        margin=_values((pair.margin for pair in pairs), device),
        chosen_score=_values((pair.chosen_score for pair in pairs), device),
        rejected_score=_values((pair.rejected_score for pair in pairs), device),
        progress=progress,
        mismatched=mismatched,
    )


def weights(pairs: Iterable[Pair], device: torch.device) -> Tensor:
    """What the loss of each pair is multiplied by. Shape (pairs,)."""
    return _values((pair.weight for pair in pairs), device)


def _tokens(micro: Micro, flat: Tensor, reference: Tensor | None) -> TokenLogps:
    policy, mask = micro.padded(flat)
    base = None if reference is None else micro.padded(reference)[0]
    return TokenLogps(policy=policy, reference=base, mask=mask)


def _picked(tokens: TokenLogps, at: Tensor) -> TokenLogps:
    reference = None if tokens.reference is None else tokens.reference[at]
    return TokenLogps(policy=tokens.policy[at], reference=reference, mask=tokens.mask[at])


def _values(values: Iterable[float | None], device: torch.device) -> Tensor:
    filled = [float("nan") if value is None else float(value) for value in values]
    return torch.tensor(filled, device=device, dtype=torch.float32)
