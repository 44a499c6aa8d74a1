"""Sequences packed end to end, so that nothing is padded and a shared prompt is computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cpt.training.data.inputs import ModelInputs, Segment
from cpt.training.data.sequences import TokenIds, TokenSequence

LEAST_SAVED = 0.05
"""The share of places that must be left out of padded rows: less is not worth the copies."""


@attrs.frozen(kw_only=True)
class Layout:
    """How sequences may be arranged for a model, and what that costs. See `SequenceLogps`."""

    packed: bool = False
    """Sequences may be packed end to end; else each is padded to the longest."""
    shared: bool = False
    """Several answers may follow one prompt."""
    bounded: bool = False
    """Recurrent layers are told where packed sequences begin, and keep them apart."""
    compact: bool = False
    """Padded rows may leave out padding, and repeated prompts, where single tokens are computed."""
    longest: int | None = None
    """Most tokens read of a sequence that may share a call; None if any may, 0 if none may."""
    per_token: float = 1.0
    """Work of the weights for one token, in FLOPs."""
    per_key: float = 0.0
    """Work of the attention for one query and one key, in FLOPs."""
    per_segment: float = 0.0
    """Overhead of one more call of the attention, in FLOPs."""


Group = Sequence[TokenSequence]
"""Sequences that are computed together: of a pair, or all answers to one prompt."""


@attrs.frozen
class Branches:
    """One prompt and the answers that follow it, as numbers of sequences in a group."""

    prompt_of: int
    """The sequence whose prompt is computed."""
    answers_of: tuple[int, ...]
    """The sequences whose answers follow that prompt; `prompt_of` is the first."""


def model_inputs(groups: Sequence[Group], max_tokens: int, layout: Layout) -> list[ModelInputs]:
    """The inputs of as few calls as possible, of at most `max_tokens` tokens each, long ones first.

    A group is never cut: one that is longer than `max_tokens` is alone. Sequences of one group that
    have the same prompt may share it.
    """
    sizes = [_size(group, layout) for group in groups]
    longest_first = sorted(range(len(groups)), key=lambda index: (-sizes[index], index))
    alone = [index for index in longest_first if _is_alone(groups[index], layout)]
    together = [index for index in longest_first if index not in set(alone)]
    build = _packed if layout.packed else _padded
    bins = _packed_bins if layout.packed else _padded_bins
    return [
        *(attrs.evolve(_padded((index,), [groups[index]], layout), alone=True) for index in alone),
        *(
            build(tuple(members), [groups[index] for index in members], layout)
            for members in bins(together, sizes, groups, max_tokens)
        ),
    ]


def branches(group: Group, layout: Layout) -> list[Branches]:
    """Which sequences of a group share a prompt: all with the same prompt, if that is cheaper."""
    same: dict[bytes, list[int]] = {}
    for index, sequence in enumerate(group):
        same.setdefault(sequence.prompt.tobytes(), []).append(index)
    found: list[Branches] = []
    for members in same.values():
        if layout.shared and _sharing_pays([group[index] for index in members], layout):
            found.append(Branches(members[0], tuple(members)))
        else:
            found += [Branches(index, (index,)) for index in members]
    return found


def token_count(group: Group, layout: Layout) -> int:
    """Tokens of all sequences of a group, a prompt that they share counted once."""
    shared = sum(
        (len(branch.answers_of) - 1) * len(group[branch.prompt_of].prompt)
        for branch in branches(group, layout)
    )
    return sum(sequence.input_length for sequence in group) - shared


def _sharing_pays(sequences: Group, layout: Layout) -> bool:
    prompt = len(sequences[0].prompt)
    if len(sequences) < 2:
        return False
    saved_tokens = (len(sequences) - 1) * prompt
    saved_keys = (len(sequences) - 1) * prompt**2 / 2
    return saved_tokens * layout.per_token + saved_keys * layout.per_key > layout.per_segment


def _is_alone(group: Group, layout: Layout) -> bool:
    longest = layout.longest
    return longest is not None and any(sequence.input_length > longest for sequence in group)


def _size(group: Group, layout: Layout) -> int:
    if layout.packed:
        return token_count(group, layout)
    return max(sequence.input_length for sequence in group)


def _packed_bins(
    order: Sequence[int], sizes: Sequence[int], groups: Sequence[Group], max_tokens: int
) -> list[list[int]]:
    bins: list[list[int]] = []
    free: list[int] = []
    for index in order:
        fits = next((number for number, left in enumerate(free) if left >= sizes[index]), None)
        if fits is None:
            fits = len(bins)
            bins.append([])
            free.append(max_tokens)
        bins[fits].append(index)
        free[fits] -= sizes[index]
    return bins


def _padded_bins(
    order: Sequence[int], sizes: Sequence[int], groups: Sequence[Group], max_tokens: int
) -> list[list[int]]:
    bins: list[list[int]] = []
    rows = longest = 0
    for index in order:
        if not bins or (rows + len(groups[index])) * longest > max_tokens:
            bins.append([])
            rows, longest = 0, sizes[index]
        bins[-1].append(index)
        rows += len(groups[index])
    return bins


def _packed(members: tuple[int, ...], groups: Sequence[Group], layout: Layout) -> ModelInputs:
    pieces: list[_Piece] = []
    logits_indices: list[TokenIds] = []
    start = 0
    for group in groups:
        predicted: dict[int, TokenIds] = {}
        for piece in _pieces(group, layout, start, len(pieces)):
            pieces.append(piece)
            predicted |= piece.logits_indices
            start += piece.segment.length
        logits_indices += [predicted[number] for number in range(len(group))]
    return _inputs(
        members,
        groups,
        input_ids=_tensor([piece.ids for piece in pieces])[None],
        position_ids=_tensor([piece.positions for piece in pieces])[None],
        logits_indices=_tensor(logits_indices),
        segments=tuple(piece.segment for piece in pieces),
        bounded=layout.bounded,
    )


@attrs.frozen(eq=False)
class _Piece:
    ids: TokenIds
    positions: TokenIds
    segment: Segment
    logits_indices: dict[int, TokenIds]
    """Where each answer that ends here is predicted, by its number in the group."""


def _pieces(group: Group, layout: Layout, start: int, number: int) -> Iterator[_Piece]:
    """The segments of a group, the first of which begins at token `start` as segment `number`."""
    for branch in branches(group, layout):
        prompt = group[branch.prompt_of].prompt
        if len(branch.answers_of) == 1:
            ids = np.concatenate([prompt, group[branch.prompt_of].answer[:-1]])
            predicted = np.arange(start + len(prompt) - 1, start + len(ids))
            yield _Piece(ids, np.arange(len(ids)), Segment(len(ids)), {branch.prompt_of: predicted})
            start, number = start + len(ids), number + 1
            continue
        yield _Piece(prompt, np.arange(len(prompt)), Segment(len(prompt)), {})
        last, prefix = start + len(prompt) - 1, number
        start, number = start + len(prompt), number + 1
        for index in branch.answers_of:
            ids = group[index].answer[:-1]
            predicted = np.concatenate([[last], np.arange(start, start + len(ids))])
            positions = np.arange(len(prompt), len(prompt) + len(ids))
            yield _Piece(ids, positions, Segment(len(ids), prefix), {index: predicted})
            start, number = start + len(ids), number + 1


def _padded(members: tuple[int, ...], groups: Sequence[Group], layout: Layout) -> ModelInputs:
    sequences = [sequence for group in groups for sequence in group]
    rows = [torch.from_numpy(np.concatenate([row.prompt, row.answer[:-1]])) for row in sequences]
    ids = pad_sequence(rows, batch_first=True)
    seq_len = ids.shape[1]
    mask = torch.arange(seq_len) < torch.tensor([row.input_length for row in sequences])[:, None]
    logits_indices = [
        np.arange(row * seq_len + len(sequence.prompt) - 1, row * seq_len + sequence.input_length)
        for row, sequence in enumerate(sequences)
    ]
    return _inputs(
        members,
        groups,
        input_ids=ids,
        position_ids=torch.arange(seq_len).expand_as(ids),
        logits_indices=_tensor(logits_indices),
        attention_mask=mask,
        **(_compacted(groups, mask) if layout.compact else {}),
    )


def _compacted(groups: Sequence[Group], mask: Tensor) -> dict[str, Tensor]:
    """The places that differ, and which of them each place equals; nothing if most differ."""
    equal = np.arange(mask.numel()).reshape(mask.shape)
    row = 0
    for group in groups:
        first: dict[bytes, int] = {}
        for sequence in group:
            length = len(sequence.prompt)
            same = first.setdefault(sequence.prompt.tobytes(), row)
            equal[row, :length] = equal[same, :length]
            row += 1
    equal[~mask.numpy()] = 0
    kept, places = np.unique(equal, return_inverse=True)
    if len(kept) > (1 - LEAST_SAVED) * equal.size:
        return {}
    return {"kept": torch.from_numpy(kept), "places": torch.from_numpy(places.ravel())}


def _inputs(members: tuple[int, ...], groups: Sequence[Group], **tensors: object) -> ModelInputs:
    answers = [sequence.answer for group in groups for sequence in group]
    lengths = tuple(len(answer) for answer in answers)
    return ModelInputs(groups=members, lengths=lengths, targets=_tensor(answers), **tensors)  # type: ignore[arg-type]


def _tensor(pieces: Sequence[TokenIds]) -> Tensor:
    return torch.from_numpy(np.concatenate(pieces))
