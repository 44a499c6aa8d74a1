"""Padded rows without the cost of padding, in the parts of a model that look at single tokens.

Where attention or recurrence needs rows, they are padded. But an MLP, experts or a projection give
each token the same whatever is beside it. So they get the tokens alone, without padding and with a
prompt that several answers share once, and what they return is laid out in rows again. Which parts
do so is guessed by name and type, and `probe` tries the guess on the model.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from cpt.training.data.inputs import ModelInputs

TOKENWISE = re.compile(
    r"mlp|ffn?|feed_?forward(_?\d+)?|(block_)?sparse_moe|moe|experts|shared_?(expert|mlp)s?"
)
"""What parts are called that give each token the same whatever is beside it."""


@attrs.frozen(eq=False)
class Compact:
    """Which places of padded rows are computed, and which of these each place takes."""

    kept: Tensor
    """Places in the flattened batch. Shape (tokens,)."""
    places: Tensor
    """The number of a token for each place; any for padding. Shape (batch * seq_len,)."""
    shape: tuple[int, int]
    """Rows and their length."""

    @classmethod
    def of(cls, inputs: ModelInputs) -> Compact | None:
        """What padded inputs say can be left out; None if nothing."""
        if inputs.kept is None or inputs.places is None:
            return None
        rows, length = inputs.input_ids.shape
        return cls(inputs.kept, inputs.places, (rows, length))

    def pack(self, value: Any) -> Any:
        """A tensor of shape (batch, seq_len, ...) as (1, tokens, ...); anything else as it is."""
        if not self._has(value, self.shape):
            return value
        return value.flatten(0, 1).index_select(0, self.kept)[None]

    def unpack(self, value: Any) -> Any:
        """A tensor of shape (1, tokens, ...) as (batch, seq_len, ...); anything else as it is.

        Of shape (tokens, width), as some experts return it, it becomes (batch * seq_len, width).
        """
        if isinstance(value, tuple):
            return tuple(map(self.unpack, value))
        if self._has(value, (1, len(self.kept))):
            return value[0].index_select(0, self.places).unflatten(0, self.shape)
        flat = isinstance(value, Tensor) and value.ndim == 2 and len(value) == len(self.kept)
        return value.index_select(0, self.places) if flat else value

    def _has(self, value: Any, shape: tuple[int, int]) -> bool:
        return isinstance(value, Tensor) and value.ndim > 2 and value.shape[:2] == shape


CURRENT: ContextVar[Compact | None] = ContextVar("CURRENT", default=None)
"""The padded rows that a model is computing; None where nothing is to be left out."""


@contextmanager
def compacting(rows: Compact | None) -> Iterator[None]:
    """Inside it, parts of a model that `make_compact` found compute only what is kept."""
    token = CURRENT.set(rows)
    try:
        yield
    finally:
        CURRENT.reset(token)


def make_compact(model: nn.Module) -> Callable[[], None]:
    """Let the parts of a model that look at single tokens do as `compacting` says.

    Returns what undoes it.
    """
    hooks = []
    for part in tokenwise(model):
        hooks.append(part.register_forward_pre_hook(_before, with_kwargs=True))
        hooks.append(part.register_forward_hook(_after))

    def undo() -> None:
        for hook in hooks:
            hook.remove()

    return undo


def tokenwise(module: nn.Module) -> Iterator[nn.Module]:
    """The largest parts of a model that look at single tokens, as far as names and types say."""
    for name, part in module.named_children():
        if TOKENWISE.fullmatch(name) or isinstance(part, nn.Linear):
            yield part
        else:
            yield from tokenwise(part)


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _before(
    module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    rows = CURRENT.get()
    if rows is None:
        return None
    return tuple(map(rows.pack, args)), {name: rows.pack(arg) for name, arg in kwargs.items()}


@torch.compiler.disable  # type: ignore[untyped-decorator]
def _after(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
    rows = CURRENT.get()
    return output if rows is None else rows.unpack(output)
