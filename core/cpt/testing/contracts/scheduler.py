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
        """Every index is one of a pair."""
        batches, pairs = self._batches(EPOCHS), len(self.pairs())
        assert batches, f"{pairs} pairs gave no batch."
        for batch in batches:
            outside = [index for index in batch if not 0 <= index < pairs]
            assert not outside, f"A batch has the indices {outside}, and there are {pairs} pairs."

    def test_batches_are_full_but_for_the_last_of_an_epoch(self) -> None:
        """Every batch has the size asked for, but the last of an epoch may be smaller."""
        for epochs in (1, EPOCHS):
            sizes = [len(batch) for batch in self._batches(epochs)]
            what = f"Batches of {SIZE} were asked for in {epochs} epochs; their sizes are {sizes}."
            assert all(0 < size <= SIZE for size in sizes), what
            assert sum(size < SIZE for size in sizes) <= epochs, what
            assert all(size == SIZE for size in sizes[:-1]) or epochs > 1, what

    def test_an_empty_set_gives_no_batches(self) -> None:
        """Without pairs there are no batches."""
        batches = list(self.component.batches([], SIZE, SEED, EPOCHS))
        assert not batches, f"No pairs gave the batches {batches}."

    def test_a_resumed_run_sees_the_rest(self) -> None:
        """Skipping the batches that are done is the same as never having stopped."""
        whole, done = self._batches(EPOCHS), 3
        random.seed(0)
        again = self.component.batches(self.pairs(), SIZE, SEED, EPOCHS)
        rest = [tuple(batch) for batch in islice(again, done, None)]
        assert rest == whole[done:], "The same arguments gave other batches the second time."

    def test_two_runs_at_once_do_not_meet(self) -> None:
        """Two runs at once give the same batches: there is no state outside the arguments."""
        one, other = (self.component.batches(self.pairs(), SIZE, SEED, EPOCHS) for _ in range(2))
        for first, second in zip(one, other, strict=True):
            assert tuple(first) == tuple(second), "Two runs at once gave different batches."

    def test_every_process_of_a_world_sees_the_same_without_torch(self) -> None:
        """Neither the hash seed, the rank nor the number of processes changes the batches."""
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
        assert [tuple(batch) for batch in seen["batches"]] == self._batches(EPOCHS), (
            "Another process got other batches; do not depend on hashes, ranks or set order."
        )
        assert not seen["torch"], "Order pairs without torch, which takes seconds to import."

    def _batches(self, epochs: int) -> Sequence[tuple[int, ...]]:
        batches = self.component.batches(self.pairs(), SIZE, SEED, epochs)
        return [tuple(batch) for batch in batches]
