"""The order that a scheduler gives the pairs, checked: it may be anyone's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index
from typing import Any

from cpt.errors import CptError, during
from cpt.roles import Phase, PhasedScheduler, Scheduler
from cpt.training.options import Training
from cpt.types import Pair


def order_of(
    pairs: Sequence[Pair],
    scheduler: Scheduler,
    options: Training,
    seed: int,
    scores: Sequence[Sequence[float]] | None = None,
) -> list[list[int]]:
    """The batches of a whole training, as indices into `pairs`.

    `scores` is what a `PhasedScheduler` is given. Raises `CptError` if they are not what
    `Scheduler.batches` must yield.
    """
    named = f"Scheduler {scheduler.name!r}"
    with during(f"the scheduler {scheduler.name!r} ordered {len(pairs)} pairs"):
        asked = (pairs, options.batch_size, seed, options.epochs)
        batches: Any = (
            scheduler.ordered(*asked, scores)
            if isinstance(scheduler, PhasedScheduler) and scores is not None
            else scheduler.batches(*asked)
        )
        if not isinstance(batches, Iterable):
            raise CptError(
                f"{named} returned {type(batches).__name__}; `batches` must yield batches of "
                "indices into the pairs."
            )
        order = [_batch(batch, number, named) for number, batch in enumerate(batches, 1)]
    if not order:
        raise CptError(f"{named} gives no batch of {len(pairs)} pairs.")
    for number, batch in enumerate(order, 1):
        _refuse_beyond(batch, number, len(pairs), named)
    _refuse_sizes(order, options, named)
    return order


def phases_of(
    pairs: Sequence[Pair], scheduler: Scheduler, options: Training, steps: int
) -> Sequence[Phase]:
    """The phases of a training of so many steps, none if all is ordered before it begins.

    Raises `CptError` if they are not what `PhasedScheduler.phases` must return.
    """
    if not isinstance(scheduler, PhasedScheduler):
        return ()
    with during(f"the scheduler {scheduler.name!r} cut the training into phases"):
        phases: Any = tuple(scheduler.phases(pairs, options.batch_size, options.epochs))
    counts = [phase.steps if isinstance(phase, Phase) else 0 for phase in phases]
    if sum(counts) != steps or min(counts) < 1:
        raise CptError(
            f"Scheduler {scheduler.name!r} has phases of {counts} steps for a training of {steps}; "
            "`phases` must return Phases of at least one step that add up to it."
        )
    return tuple(phases)


def _batch(batch: Any, number: int, named: str) -> list[int]:
    if not isinstance(batch, Iterable) or isinstance(batch, str | bytes):
        raise CptError(
            f"{named} gives {batch!r} as batch {number}; a batch is a sequence of indices."
        )
    return [_whole(value, number, named) for value in batch]


def _whole(value: Any, number: int, named: str) -> int:
    try:
        if not isinstance(value, bool):
            return index(value)
    except TypeError:
        pass
    raise CptError(
        f"{named} gives {value!r} in batch {number}; an index into the pairs is a whole number."
    )


def _refuse_beyond(batch: Sequence[int], number: int, pairs: int, named: str) -> None:
    for pair in batch:
        if not 0 <= pair < pairs:
            raise CptError(
                f"{named} asks for pair {pair} of {pairs} in batch {number}; the first is 0."
            )


def _refuse_sizes(order: Sequence[Sequence[int]], options: Training, named: str) -> None:
    size, epochs = options.batch_size, options.epochs
    for number, batch in enumerate(order, 1):
        if not 0 < len(batch) <= size:
            raise CptError(
                f"{named} gives {len(batch)} pairs in batch {number}; "
                f"train.batch_size is {size}, and only the last batch of an epoch may be smaller."
            )
    smaller = [number for number, batch in enumerate(order[:-1], 1) if len(batch) < size]
    if len(smaller) >= epochs:
        number = smaller[0]
        raise CptError(
            f"{named} gives {len(order[number - 1])} pairs in batch {number} of {len(order)}; "
            f"train.batch_size is {size}, and only the last batch of an epoch may be smaller."
        )
