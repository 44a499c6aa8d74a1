"""Log-probabilities without gradient, of the reference and of mismatched pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from cpt.training.data.inputs import ModelInputs
from cpt.training.data.packing import Layout, model_inputs, token_count
from cpt.training.data.sequences import TokenSequence
from cpt.training.forward.logps import SequenceLogps
from cpt.training.reference.store import AnswerLogps, Store

TOKENS_PER_FILE = 500_000
"""Tokens that are scored before they are written to the disk: a crash loses no more."""


def _silent(*_: int) -> None:
    """Report to nobody."""


@attrs.frozen(eq=False)
class References:
    """Log-probabilities of answer tokens under the reference, by index of the sequence."""

    values: Sequence[AnswerLogps | None]
    """None for a sequence that no batch holds."""

    def flat(self, indices: Iterable[int], device: torch.device) -> Tensor:
        """Those of some sequences, one after the other. Shape (answer tokens,)."""
        values = np.concatenate([self._at(index) for index in indices])
        return torch.from_numpy(values).to(device, non_blocking=True)

    def sum(self, index: int) -> float:
        """That of a whole answer."""
        return float(self._at(index).sum())

    def _at(self, index: int) -> AnswerLogps:
        values = self.values[index]
        assert values is not None, "a batch holds a sequence that was not scored"
        return values


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
    if accelerator.num_processes == 1:
        return count
    counts = accelerator.gather(torch.tensor([count], device=accelerator.device))
    return int(counts.max())


def references(
    sequences: Sequence[TokenSequence],
    scorer: Scorer,
    store: Store,
    report: Callable[[int, int], None] = _silent,
) -> list[AnswerLogps]:
    """The reference's log-probabilities of all sequences, read or computed; long ones first.

    While some are computed, `report` is called with the tokens so far and of all that are missing.
    """
    accelerator = scorer.accelerator
    digests = [sequence.digest for sequence in sequences]
    wanted = dict(zip(digests, sequences, strict=True))
    found = store.read(wanted)
    missing = [sequence for digest, sequence in wanted.items() if digest not in found]
    done = _Done(total=_tokens(missing), processes=accelerator.num_processes, report=report)
    for chunk in _chunks(missing):
        mine = chunk[accelerator.process_index :: accelerator.num_processes]
        values = scorer.score(mine, chunk[0], done.add)
        store.add({sequence.digest: logps for sequence, logps in zip(mine, values, strict=True)})
        done.finish(chunk)
    accelerator.wait_for_everyone()
    found = store.read(wanted)
    if accelerator.is_main_process:
        store.keep(found)
    return [found[digest] for digest in digests]


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

    def finish(self, chunk: Sequence[TokenSequence]) -> None:
        self.finished += _tokens(chunk)
        self.begun = 0
        self.report(self.finished, self.total)


def _tokens(sequences: Iterable[TokenSequence]) -> int:
    return sum(sequence.input_length for sequence in sequences)


def _chunks(sequences: Sequence[TokenSequence]) -> Iterator[list[TokenSequence]]:
    """Long sequences first, those of one prompt together; a chunk is what is written at once."""
    longest: dict[bytes, int] = {}
    for sequence in sequences:
        prompt = sequence.prompt.tobytes()
        longest[prompt] = max(longest.get(prompt, 0), sequence.input_length)

    def rank(sequence: TokenSequence) -> tuple[int, bytes]:
        prompt = sequence.prompt.tobytes()
        return -longest[prompt], prompt

    ordered = sorted(sequences, key=rank)
    chunk: list[TokenSequence] = []
    size = 0
    for sequence in ordered:
        chunk.append(sequence)
        size += sequence.input_length
        if size >= TOKENS_PER_FILE:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


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
