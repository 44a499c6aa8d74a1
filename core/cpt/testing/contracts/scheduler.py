"""What every scheduler promises."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Sequence
from itertools import islice

from cpt.roles import Scheduler
from cpt.testing.contracts.component import ComponentContract, in_fresh_process
from cpt.testing.fakes import fake_pairs
from cpt.types import Pair

SIZE, SEED, EPOCHS = 4, 7, 2

ELSEWHERE = """
import json, pickle, sys
scheduler, pairs, size, seed, epochs = pickle.load(sys.stdin.buffer)
batches = [list(batch) for batch in scheduler.batches(pairs, size, seed, epochs)]
print(json.dumps({"batches": batches, "torch": "torch" in sys.modules}))
"""


class SchedulerContract(ComponentContract[Scheduler]):
    """What every scheduler promises."""

    def pairs(self) -> list[Pair]:
        """What is scheduled here: override it if the scheduler asks for something special."""
        return fake_pairs(33)

    def test_indices_are_in_range(self) -> None:
        batches = self._batches(EPOCHS)
        assert batches
        assert all(0 <= index < len(self.pairs()) for batch in batches for index in batch)

    def test_batches_are_full_but_for_the_last_of_an_epoch(self) -> None:
        for epochs in (1, EPOCHS):
            sizes = [len(batch) for batch in self._batches(epochs)]
            assert all(0 < size <= SIZE for size in sizes)
            assert sum(size < SIZE for size in sizes) <= epochs
            assert all(size == SIZE for size in sizes[:-1]) or epochs > 1

    def test_an_empty_set_gives_no_batches(self) -> None:
        assert list(self.component.batches([], SIZE, SEED, EPOCHS)) == []

    def test_a_resumed_run_sees_the_rest(self) -> None:
        """Skipping what is done and going on is the same as never having stopped."""
        whole, done = self._batches(EPOCHS), 3
        random.seed(0)
        again = self.component.batches(self.pairs(), SIZE, SEED, EPOCHS)
        assert [tuple(batch) for batch in islice(again, done, None)] == whole[done:]

    def test_two_runs_at_once_do_not_meet(self) -> None:
        """No state outside the arguments."""
        one, other = (self.component.batches(self.pairs(), SIZE, SEED, EPOCHS) for _ in range(2))
        both = list(zip(one, other, strict=True))
        assert [tuple(first) for first, _ in both] == [tuple(second) for _, second in both]

    def test_every_process_of_a_world_sees_the_same_without_torch(self) -> None:
        """Neither the hash seed, nor the rank, nor the number of processes counts."""
        arguments = self.component, self.pairs(), SIZE, SEED, EPOCHS
        printed = in_fresh_process(
            ELSEWHERE,
            pickle.dumps(arguments),
            PYTHONHASHSEED="4242",
            RANK="1",
            LOCAL_RANK="1",
            WORLD_SIZE="4",
        )
        seen = json.loads(printed)
        assert [tuple(batch) for batch in seen["batches"]] == self._batches(EPOCHS)
        assert not seen["torch"], "order pairs without torch"

    def _batches(self, epochs: int) -> Sequence[tuple[int, ...]]:
        batches = self.component.batches(self.pairs(), SIZE, SEED, epochs)
        return [tuple(batch) for batch in batches]
