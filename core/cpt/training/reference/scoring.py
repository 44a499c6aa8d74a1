"""Log-probabilities without gradient: of the reference, and of whatever a loss compares with."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpt.training.data.packing import Layout, Micro, microbatches, taken
from cpt.training.data.rows import Row, key
from cpt.training.forward.logps import SequenceLogps
from cpt.training.reference.store import Store

log = logging.getLogger(__name__)

Values = NDArray[np.float32]

DURABLE = 500_000
"""Tokens that are scored between two writes to the disk: what a crash can lose."""


@attrs.frozen(eq=False)
class References:
    """Log-probabilities of answer tokens under the reference, by place in the corpus."""

    values: Sequence[Values | None]
    """None for a sequence whose reference nobody asked for."""

    def flat(self, places: Iterable[int], device: torch.device) -> Tensor:
        """Those of some sequences, one after the other. Shape (answer tokens,)."""
        some = np.concatenate([self._at(place) for place in places])
        return torch.from_numpy(some).to(device, non_blocking=True)

    def sum(self, place: int) -> float:
        """That of a whole answer."""
        return float(self._at(place).sum())

    def _at(self, place: int) -> Values:
        values = self.values[place]
        assert values is not None, "the order came by a sequence that was not scored"
        return values


@attrs.frozen(eq=False, kw_only=True)
class Scorer:
    """A model that is asked, on all processes together, for log-probabilities."""

    accelerator: Any
    module: SequenceLogps
    tokens: int
    """Most tokens in a micro-batch."""

    @torch.no_grad()
    def score(self, rows: Sequence[Row], filler: Row) -> list[Values]:
        """Log-probabilities of the answer tokens of this process's rows.

        Every process calls this as often as the others; one that has fewer rows scores `filler`
        beside them, because a sharded model answers only when all processes ask.
        """
        groups = list(_by_prompt(rows, self.tokens, self.module.layout))
        micros = self._cut([[rows[each] for each in group] for group in groups])
        spare = micros[:1] or self._cut([[filler]])
        scored: list[Values | None] = [None] * len(rows)
        for at in range(most(self.accelerator, len(micros))):
            flat = self._forward((micros[at : at + 1] or spare)[0])
            if at < len(micros):
                places = [each for index in micros[at].groups for each in groups[index]]
                ends = np.cumsum(micros[at].lengths)[:-1]
                answers = np.split(flat.float().cpu().numpy(), ends)
                for place, answer in zip(places, answers, strict=True):
                    scored[place] = answer
        return [each for each in scored if each is not None]

    def _cut(self, groups: Sequence[Sequence[Row]]) -> list[Micro]:
        return microbatches(groups, self.tokens, self.module.layout)

    def _forward(self, micro: Micro) -> Tensor:
        with self.accelerator.autocast():
            flat: Tensor = self.module(micro.to(self.accelerator.device))
        return flat


def most(accelerator: Any, count: int) -> int:
    """The largest `count` of all processes."""
    if accelerator.num_processes == 1:
        return count
    counts = accelerator.gather(torch.tensor([count], device=accelerator.device))
    return int(counts.max())


def references(rows: Sequence[Row], scorer: Scorer, kept: Store) -> list[Values]:
    """The reference's log-probabilities of all rows, found or computed; long rows come first."""
    accelerator = scorer.accelerator
    keys = [key(row) for row in rows]
    found = kept.read(keys)
    todo = list(
        {name: row for name, row in zip(keys, rows, strict=True) if name not in found}.values()
    )
    if todo:
        log.info("reference: %d of %d sequences to compute", len(todo), len(set(keys)))
    begun, done = time.perf_counter(), 0
    for chunk in _chunks(todo):
        mine = chunk[accelerator.process_index :: accelerator.num_processes]
        values = scorer.score(mine, chunk[0])
        kept.add({key(row): each for row, each in zip(mine, values, strict=True)})
        done += len(chunk)
        log.info(
            "reference: %d of %d sequences, %.0f s", done, len(todo), time.perf_counter() - begun
        )
    accelerator.wait_for_everyone()
    found = kept.read(keys)
    if accelerator.is_main_process:
        kept.keep(found)
    return [found[name] for name in keys]


def _chunks(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Long rows first, those of one prompt together, so many that a crash loses little."""
    longest: dict[bytes, int] = {}
    for row in rows:
        prompt = row.prompt.tobytes()
        longest[prompt] = max(longest.get(prompt, 0), row.inputs)
    ordered = sorted(rows, key=lambda row: (-longest[row.prompt.tobytes()], row.prompt.tobytes()))
    chunk: list[Row] = []
    size = 0
    for row in ordered:
        chunk.append(row)
        size += row.inputs
        if size >= DURABLE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _by_prompt(rows: Sequence[Row], tokens: int, layout: Layout) -> Iterator[list[int]]:
    """Places of the rows of each prompt, no more than `tokens` together."""
    open_: dict[bytes, list[int]] = {}
    for place, row in enumerate(rows):
        prompt = row.prompt.tobytes()
        group = [*open_.get(prompt, []), place]
        if len(group) > 1 and taken([rows[each] for each in group], layout) > tokens:
            yield open_[prompt]
            group = [place]
        open_[prompt] = group
    yield from open_.values()
