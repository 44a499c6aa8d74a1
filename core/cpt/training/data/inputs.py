"""The tensors that a model reads in one call."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def copied(
    values: Sequence[float], device: torch.device, dtype: torch.dtype | None = None
) -> Tensor:
    """Numbers as a tensor on a device: see `moved`."""
    return moved(torch.tensor(values, dtype=dtype), device)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, without waiting for what that is still computing."""
    # From elsewhere CUDA copies only small ones at once, and waits before the others.
    source = tensor.pin_memory() if device.type == "cuda" else tensor
    return source.to(device, non_blocking=True)


@attrs.frozen
class Segment:
    """Consecutive packed tokens that attend causally to themselves and to a prefix."""

    length: int
    prefix: int | None = None
    """Number of the segment that all its tokens see whole, besides their own past."""


@attrs.frozen(eq=False, kw_only=True)
class ModelInputs:
    """The tensors of one call of the model.

    Packed inputs have a batch of 1 and are divided into segments; padded ones have a row for each
    sequence and a mask. Sequences are in the order of `groups`, and within a group in its order.
    """

    groups: tuple[int, ...]
    """The groups that are in it, as indices into what `model_inputs` was given."""
    lengths: tuple[int, ...]
    """Answer tokens of each sequence. Shape (sequences,)."""
    input_ids: Tensor
    """Shape (batch, seq_len)."""
    position_ids: Tensor
    """Shape (batch, seq_len)."""
    logits_indices: Tensor
    """Where each answer token is predicted, in the flattened batch. Shape (answer tokens,)."""
    targets: Tensor
    """Ids of the answer tokens. Shape (answer tokens,)."""
    segments: tuple[Segment, ...] = ()
    """How packed inputs are divided; empty if they are padded."""
    bounded: bool = False
    """Recurrent layers are to be told where segments begin, none of which has a prefix."""
    attention_mask: Tensor | None = None
    """True where padded inputs have a token; None if they are packed. Shape (batch, seq_len)."""
    kept: Tensor | None = None
    """The places of padded inputs that differ: no padding, and a prompt that is shared once; None
    if nothing can be left out. Shape (tokens,)."""
    places: Tensor | None = None
    """Which of those each place equals; any for padding. Shape (batch * seq_len,)."""
    alone: bool = False
    """Every row must be computed in a call of its own: see `rows`."""

    @property
    def size(self) -> int:
        """Tokens that the model reads, padding included."""
        return self.input_ids.numel()

    @property
    def tokens(self) -> int:
        """Tokens that the model reads, without padding and what is left out."""
        if self.kept is not None:
            return len(self.kept)
        return self.size if self.attention_mask is None else int(self.attention_mask.sum())

    def to(self, device: torch.device) -> ModelInputs:
        """The same on another device."""
        tensors = {
            field.name: moved(value, device)
            for field in attrs.fields(type(self))
            if isinstance(value := getattr(self, field.name), Tensor)
        }
        return attrs.evolve(self, **tensors)  # type: ignore[arg-type]

    def rows(self) -> Iterator[ModelInputs]:
        """Each padded row by itself, as plain text is read: unpadded, with its last token."""
        assert self.attention_mask is not None, "packed inputs have no rows"
        lengths = self.attention_mask.sum(1).tolist()
        answers = torch.split(self.targets, list(self.lengths))
        predicted = torch.split(self.logits_indices, list(self.lengths))
        for row, (length, targets, indices) in enumerate(
            zip(lengths, answers, predicted, strict=True)
        ):
            ids = torch.cat([self.input_ids[row, :length], targets[-1:]])[None]
            yield attrs.evolve(
                self,
                lengths=(len(targets),),
                input_ids=ids,
                position_ids=torch.arange(ids.shape[1], device=ids.device)[None],
                logits_indices=indices - row * self.input_ids.shape[1],
                targets=targets,
                attention_mask=None,
                kept=None,
                places=None,
            )

    def sums(self, flat: Tensor) -> Tensor:
        """Sum over each answer. Shape (answer tokens,) to (sequences,)."""
        # One by one, so that no sum depends on which sequences are in the same call.
        return torch.stack([answer.sum() for answer in torch.split(flat, list(self.lengths))])

    def padded(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Each answer in a row of its own, and a mask of it. Both of shape (sequences, seq_len)."""
        answers = pad_sequence(list(torch.split(flat, list(self.lengths))), batch_first=True)
        lengths = copied(self.lengths, flat.device)
        return answers, torch.arange(answers.shape[1], device=flat.device) < lengths[:, None]
