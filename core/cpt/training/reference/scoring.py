"""Log-probabilities without gradient, of the reference and of mismatched pairs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cpt.training.data.columns.table import Digests, Sequences
from cpt.training.data.inputs import ModelInputs, moved
from cpt.training.data.packing import Layout, model_inputs, token_count
from cpt.training.data.sequences import TokenSequence
from cpt.training.forward.agreement import is_alone
from cpt.training.forward.logps import SequenceLogps
from cpt.training.reference.store import AnswerLogps, Found, Store, Wanted

TOKENS_PER_FILE = 500_000
"""Tokens that are scored before they are written to the disk: a crash loses no more."""


def _silent(*_: int) -> None:
    """Report to nobody."""


@attrs.define(eq=False)
class References:
    """Log-probabilities of answer tokens under the reference, by index of the sequence.

    They are in a file that has no name.
    """

    file: IO[bytes]
    numbers: NDArray[np.int64]
    """Which of the distinct sequences each is, or -1 if no batch holds it. Shape (sequences,)."""
    starts: NDArray[np.int64]
    """Where in the file each distinct one begins. Shape (distinct,)."""
    lengths: NDArray[np.int64]
    """Answer tokens of each distinct one. Shape (distinct,)."""
    size: int = 0
    """Tokens in the file."""

    def add(self, found: Found) -> None:
        """Take values in; its places are numbers of distinct sequences."""
        self.starts[found.places] = self.size + np.cumsum(found.lengths) - found.lengths
        self.file.write(found.values.tobytes())
        self.file.flush()
        self.size += len(found.values)

    def flat(self, indices: Iterable[int], device: torch.device) -> Tensor:
        """Those of some sequences, one after the other. Shape (answer tokens,)."""
        values = np.concatenate([self._at(index) for index in indices])
        return moved(torch.from_numpy(values), device)

    def sum(self, index: int) -> float:
        """That of a whole answer."""
        return float(self._at(index).sum())

    def _at(self, index: int) -> AnswerLogps:
        number = self.numbers[index]
        assert number >= 0, "a batch holds a sequence that was not scored"
        return self.of_distinct(number)

    def of_distinct(self, number: int) -> AnswerLogps:
        """Those of one of the distinct sequences."""
        start, length = self.starts[number], self.lengths[number]
        found = os.pread(self.file.fileno(), int(length) * 4, int(start) * 4)
        return np.frombuffer(found, dtype=np.float32)


@attrs.frozen(eq=False, kw_only=True)
class Scorer:
    """A model that computes log-probabilities, on all processes together."""

    accelerator: Any
    module: SequenceLogps
    max_tokens: int
    """Most tokens in one call of the model."""

    @torch.no_grad()
    def score(
        self,
        sequences: Sequence[TokenSequence],
        filler: TokenSequence,
        report: Callable[[int], None] = _silent,
    ) -> list[AnswerLogps]:
        """Log-probabilities of the answer tokens of this process's sequences.

        `report` is called after each call of the model with the tokens of the sequences in it.
        Every process must call this. One that has fewer sequences scores `filler` as well, because
        a sharded model computes only when all processes call it.
        """
        groups = list(_by_prompt(sequences, self.max_tokens, self.module.layout))
        calls = self._inputs([[sequences[index] for index in group] for group in groups])
        filler_calls = calls[:1] or self._inputs([[filler]])
        scored: list[AnswerLogps | None] = [None] * len(sequences)
        for number in range(max_over_processes(self.accelerator, len(calls))):
            flat = self._forward((calls[number : number + 1] or filler_calls)[0])
            if number < len(calls):
                indices = [index for group in calls[number].groups for index in groups[group]]
                ends = np.cumsum(calls[number].lengths)[:-1]
                answers = np.split(flat.float().cpu().numpy(), ends)
                for index, logps in zip(indices, answers, strict=True):
                    scored[index] = logps
                report(sum(sequences[index].input_length for index in indices))
        return [logps for logps in scored if logps is not None]

    def _inputs(self, groups: Sequence[Sequence[TokenSequence]]) -> list[ModelInputs]:
        return model_inputs(groups, self.max_tokens, self.module.layout)

    def _forward(self, inputs: ModelInputs) -> Tensor:
        with self.accelerator.autocast():
            flat: Tensor = self.module(inputs.to(self.accelerator.device))
        return flat


def max_over_processes(accelerator: Any, count: int) -> int:
    """The largest `count` of all processes."""
    if accelerator.num_processes == 1 or is_alone():
        return count
    counts = accelerator.gather(torch.tensor([count], device=accelerator.device))
    return int(counts.max())


def references(
    sequences: Sequences,
    indices: NDArray[np.int64],
    scorer: Scorer,
    store: Store,
    report: Callable[[int, int], None] = _silent,
) -> References:
    """The reference's log-probabilities of some sequences, read or computed; long ones first.

    While some are computed, `report` is called with the tokens so far and of all that are missing.
    """
    accelerator = scorer.accelerator
    digests, first, number = np.unique(
        sequences.digests[indices], return_index=True, return_inverse=True
    )
    wanted, distinct = Wanted.of(digests), indices[first]
    values = _none_yet(sequences, indices, distinct, number, store.temporary())
    for found in store.find(wanted, here=True):
        values.add(found)
    elsewhere = wanted.missing.copy()
    for found in store.find(wanted):
        values.add(found)
    missing = np.sort(distinct[wanted.missing])
    tokens = sequences.input_lengths
    done = _Done(int(tokens[missing].sum()), accelerator.num_processes, report)
    for chunk in _chunks(sequences, missing):
        mine = [sequences[index] for index in chunk[accelerator.process_index :: done.processes]]
        scored = scorer.score(mine, sequences[chunk[0]], done.add)
        store.add({sequence.digest: logps for sequence, logps in zip(mine, scored, strict=True)})
        done.finish(int(tokens[chunk].sum()))
    accelerator.wait_for_everyone()
    for found in store.find(wanted):
        values.add(found)
    if accelerator.is_main_process:
        _keep(values, digests, np.flatnonzero(elsewhere), store)
    return values


def _none_yet(
    sequences: Sequences,
    indices: NDArray[np.int64],
    distinct: NDArray[np.int64],
    number: NDArray[np.int64],
    file: IO[bytes],
) -> References:
    numbers = np.full(len(sequences), -1, dtype=np.int64)
    numbers[indices] = number
    return References(
        file=file,
        numbers=numbers,
        starts=np.full(len(distinct), -1, dtype=np.int64),
        lengths=sequences.answer_lengths[distinct],
    )


def _keep(values: References, digests: Digests, numbers: NDArray[np.int64], store: Store) -> None:
    """Write into the run what it does not have yet."""
    for some in _cut(numbers, values.lengths):
        names = (bytes(row) for row in digests[some].view(np.uint8).reshape(-1, 16))
        store.keep(dict(zip(names, map(values.of_distinct, some.tolist()), strict=True)))


def _cut(indices: NDArray[np.int64], sizes: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Indices in parts, of as many tokens as a file holds."""
    if len(indices):
        parts = (np.cumsum(sizes[indices]) - sizes[indices]) // TOKENS_PER_FILE
        yield from np.split(indices, np.flatnonzero(np.diff(parts)) + 1)


@attrs.define
class _Done:
    """How far the references have come: other processes are taken to be as fast as this one."""

    total: int
    processes: int
    report: Callable[[int, int], None]
    finished: int = 0
    """Tokens of the chunks that are on the disk."""
    begun: int = 0
    """Tokens of the next chunk, of this process."""

    def __attrs_post_init__(self) -> None:
        if self.total:
            self.report(0, self.total)

    def add(self, tokens: int) -> None:
        self.begun += tokens
        self.report(min(self.total, self.finished + self.begun * self.processes), self.total)

    def finish(self, tokens: int) -> None:
        self.finished += tokens
        self.begun = 0
        self.report(self.finished, self.total)


def _chunks(sequences: Sequences, missing: NDArray[np.int64]) -> Iterator[list[int]]:
    """Long sequences first, those of one prompt together; a chunk is what is written at once."""
    lengths = sequences.input_lengths
    chunk: list[int] = []
    size = 0
    for index in _ranked(sequences, missing):
        chunk.append(index)
        size += lengths[index]
        if size >= TOKENS_PER_FILE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _ranked(sequences: Sequences, missing: NDArray[np.int64]) -> Iterator[int]:
    """By the longest sequence with the same prompt, the longest first; then by the prompt."""
    prompts, sizes = sequences.prompts[missing], sequences.input_lengths[missing]
    longest = np.zeros(int(prompts.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(longest, prompts, sizes)
    order = np.argsort(-longest[prompts], kind="stable")
    cuts = np.flatnonzero(np.diff(longest[prompts[order]])) + 1
    for alike in np.split(missing[order], cuts):
        yield from sorted(alike.tolist(), key=sequences.prompt_bytes)


def _by_prompt(
    sequences: Sequence[TokenSequence], max_tokens: int, layout: Layout
) -> Iterator[list[int]]:
    """Indices of the sequences of each prompt, no more than `max_tokens` together."""
    groups: dict[bytes, list[int]] = {}
    for index, sequence in enumerate(sequences):
        prompt = sequence.prompt.tobytes()
        group = [*groups.get(prompt, []), index]
        members = [sequences[member] for member in group]
        if len(group) > 1 and token_count(members, layout) > max_tokens:
            yield groups[prompt]
            group = [index]
        groups[prompt] = group
    yield from groups.values()
