"""Rows cut into micro-batches: laid end to end without padding, each prompt once where it pays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cpt.training.data.rows import Row, Tokens


@attrs.frozen(kw_only=True)
class Layout:
    """How rows may be laid out for a model, and what that costs. See `logps.SequenceLogps`."""

    packed: bool = False
    """Rows may follow one another in one line; else each has a line of its own, padded."""
    shared: bool = False
    """Several answers may follow one prompt."""
    per_token: float = 1.0
    """Work of the weights for one token, in FLOPs."""
    per_key: float = 0.0
    """Work of the attention for one query and one key, in FLOPs."""
    per_span: float = 0.0
    """Overhead of one more call of the attention, in FLOPs."""


@attrs.frozen
class Span:
    """Consecutive tokens of a packed line that attend causally to themselves and to a prefix."""

    length: int
    prefix: int | None = None
    """Number of the span that all its tokens see whole, besides their own past."""


@attrs.frozen(eq=False, kw_only=True)
class Micro:
    """Rows that go through the model in one call.

    A packed one has a single line; a padded one has a line for each row and a mask. Rows stand in
    the order of `groups`, and within a group in its own order.
    """

    groups: tuple[int, ...]
    """Which groups it holds, as indices into what `microbatches` was given."""
    lengths: tuple[int, ...]
    """Answer tokens of each row. Shape (rows,)."""
    ids: Tensor
    """Shape (lines, time)."""
    positions: Tensor
    """Shape (lines, time)."""
    index: Tensor
    """Where, in the flattened lines, each answer token is predicted. Shape (answer tokens,)."""
    targets: Tensor
    """Ids of the answer tokens. Shape (answer tokens,)."""
    spans: tuple[Span, ...] = ()
    """How a packed line is divided; empty if it is padded."""
    mask: Tensor | None = None
    """True where a padded line has a token. Shape (lines, time)."""

    @property
    def size(self) -> int:
        """Tokens that the model reads, padding included."""
        return self.ids.numel()

    def to(self, device: torch.device | str) -> Micro:
        """Itself on another device."""
        return attrs.evolve(
            self,
            ids=self.ids.to(device, non_blocking=True),
            positions=self.positions.to(device, non_blocking=True),
            index=self.index.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
            mask=None if self.mask is None else self.mask.to(device, non_blocking=True),
        )

    def sums(self, flat: Tensor) -> Tensor:
        """Sum over each answer. Shape (answer tokens,) to (rows,)."""
        # Row by row, so that no sum depends on which rows stand beside it.
        return torch.stack([each.sum() for each in torch.split(flat, list(self.lengths))])

    def padded(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Each answer in a line of its own, and where it is. Twice shape (rows, time)."""
        lines = pad_sequence(list(torch.split(flat, list(self.lengths))), batch_first=True)
        lengths = torch.tensor(self.lengths, device=flat.device)
        return lines, torch.arange(lines.shape[1], device=flat.device) < lengths[:, None]


Branches = list[tuple[int, list[int]]]
"""The prompts of a group: the row that has it, and the rows that follow it."""


def microbatches(groups: Sequence[Sequence[Row]], tokens: int, layout: Layout) -> list[Micro]:
    """Cut groups of rows into micro-batches of at most `tokens` tokens, long ones first.

    A group (a pair; all the answers to one prompt) is never cut: one that is longer than `tokens`
    is alone. Rows of one group that have the same prompt may share it.
    """
    sizes = [_size(group, layout) for group in groups]
    longest_first = sorted(range(len(groups)), key=lambda index: (-sizes[index], index))
    build = _packed if layout.packed else _padded
    bins = _packed_bins if layout.packed else _padded_bins
    return [
        build(tuple(chosen), [groups[index] for index in chosen], layout)
        for chosen in bins(longest_first, sizes, groups, tokens)
    ]


def branches(group: Sequence[Row], layout: Layout) -> Branches:
    """Which rows of a group share a prompt: those that have one in common, if that is cheaper."""
    same: dict[bytes, list[int]] = {}
    for index, row in enumerate(group):
        same.setdefault(row.prompt.tobytes(), []).append(index)
    found: Branches = []
    for members in same.values():
        if layout.shared and _sharing_pays([group[index] for index in members], layout):
            found.append((members[0], members))
        else:
            found += [(index, [index]) for index in members]
    return found


def taken(group: Sequence[Row], layout: Layout) -> int:
    """Tokens of all rows of a group, a prompt that they share counted once."""
    shared = sum(
        (len(followers) - 1) * len(group[head].prompt)
        for head, followers in branches(group, layout)
    )
    return sum(row.inputs for row in group) - shared


def _sharing_pays(rows: Sequence[Row], layout: Layout) -> bool:
    prompt = len(rows[0].prompt)
    if len(rows) < 2:
        return False
    saved_tokens = (len(rows) - 1) * prompt
    saved_keys = (len(rows) - 1) * prompt**2 / 2
    return saved_tokens * layout.per_token + saved_keys * layout.per_key > layout.per_span


def _size(group: Sequence[Row], layout: Layout) -> int:
    return taken(group, layout) if layout.packed else max(row.inputs for row in group)


def _packed_bins(
    order: Sequence[int], sizes: Sequence[int], groups: Sequence[Sequence[Row]], tokens: int
) -> list[list[int]]:
    bins: list[list[int]] = []
    free: list[int] = []
    for index in order:
        fits = next((at for at, room in enumerate(free) if room >= sizes[index]), None)
        if fits is None:
            fits = len(bins)
            bins.append([])
            free.append(tokens)
        bins[fits].append(index)
        free[fits] -= sizes[index]
    return bins


def _padded_bins(
    order: Sequence[int], sizes: Sequence[int], groups: Sequence[Sequence[Row]], tokens: int
) -> list[list[int]]:
    bins: list[list[int]] = []
    lines = longest = 0
    for index in order:
        if not bins or (lines + len(groups[index])) * longest > tokens:
            bins.append([])
            lines, longest = 0, sizes[index]
        bins[-1].append(index)
        lines += len(groups[index])
    return bins


def _packed(chosen: tuple[int, ...], groups: Sequence[Sequence[Row]], layout: Layout) -> Micro:
    ids: list[Tokens] = []
    positions: list[Tokens] = []
    spans: list[Span] = []
    index: list[Tokens] = []
    for group in groups:
        where: dict[int, Tokens] = {}
        for piece in _pieces(group, layout, sum(span.length for span in spans), len(spans)):
            ids.append(piece.ids)
            positions.append(piece.positions)
            spans.append(piece.span)
            where |= piece.index
        index += [where[row] for row in range(len(group))]
    return _micro(
        chosen,
        groups,
        ids=_tensor(ids)[None],
        positions=_tensor(positions)[None],
        index=_tensor(index),
        spans=tuple(spans),
    )


@attrs.frozen(eq=False)
class _Piece:
    ids: Tokens
    positions: Tokens
    span: Span
    index: dict[int, Tokens]
    """Where each answer that ends here is predicted, by its row."""


def _pieces(group: Sequence[Row], layout: Layout, start: int, number: int) -> Iterator[_Piece]:
    """The spans of one group, the first of which begins at token `start` as span `number`."""
    for head, followers in branches(group, layout):
        prompt = group[head].prompt
        if len(followers) == 1:
            ids = np.concatenate([prompt, group[head].answer[:-1]])
            where = np.arange(start + len(prompt) - 1, start + len(ids))
            yield _Piece(ids, np.arange(len(ids)), Span(len(ids)), {head: where})
            start, number = start + len(ids), number + 1
            continue
        yield _Piece(prompt, np.arange(len(prompt)), Span(len(prompt)), {})
        first, prefix = start + len(prompt) - 1, number
        start, number = start + len(prompt), number + 1
        for row in followers:
            ids = group[row].answer[:-1]
            where = np.concatenate([[first], np.arange(start, start + len(ids))])
            positions = np.arange(len(prompt), len(prompt) + len(ids))
            yield _Piece(ids, positions, Span(len(ids), prefix), {row: where})
            start, number = start + len(ids), number + 1


def _padded(chosen: tuple[int, ...], groups: Sequence[Sequence[Row]], layout: Layout) -> Micro:
    rows = [row for group in groups for row in group]
    lines = [torch.from_numpy(np.concatenate([row.prompt, row.answer[:-1]])) for row in rows]
    ids = pad_sequence(lines, batch_first=True)
    time = ids.shape[1]
    mask = torch.arange(time) < torch.tensor([row.inputs for row in rows])[:, None]
    index = [
        np.arange(line * time + len(row.prompt) - 1, line * time + row.inputs)
        for line, row in enumerate(rows)
    ]
    positions = torch.arange(time).expand_as(ids)
    return _micro(chosen, groups, ids=ids, positions=positions, index=_tensor(index), mask=mask)


def _micro(chosen: tuple[int, ...], groups: Sequence[Sequence[Row]], **parts: object) -> Micro:
    answers = [row.answer for group in groups for row in group]
    lengths = tuple(len(answer) for answer in answers)
    return Micro(groups=chosen, lengths=lengths, targets=_tensor(answers), **parts)  # type: ignore[arg-type]


def _tensor(pieces: Sequence[Tokens]) -> Tensor:
    return torch.from_numpy(np.concatenate(pieces))
