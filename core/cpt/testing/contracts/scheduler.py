"""What every scheduler promises."""

from __future__ import annotations

import json
import pickle
import random
from collections.abc import Sequence
from itertools import accumulate, islice

from cpt.roles import Phase, PhasedScheduler, Scheduler
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
        random.seed(0)
        whole, done = self._batches(EPOCHS), 3
        random.seed(1)
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


class PhasedSchedulerContract(SchedulerContract):
    """What every scheduler promises that decides as training goes."""

    component: PhasedScheduler

    def test_phases_add_up_to_all_batches(self) -> None:
        """The steps of the phases, each at least one, are as many as there are batches."""
        for epochs in (1, EPOCHS):
            steps = [phase.steps for phase in self._phases(epochs)]
            batches = len(self._batches(epochs))
            assert all(count > 0 for count in steps), f"Phases have {steps} steps."
            assert sum(steps) == batches, f"Phases of {steps} steps, for {batches} batches."

    def test_any_scores_give_full_batches_in_range(self) -> None:
        """Whatever the pairs score, as many batches come, of the same sizes and in range."""
        sizes = [len(batch) for batch in self._batches(EPOCHS)]
        for draw in range(5):
            batches = self._given(self._drawn(draw))
            assert [len(batch) for batch in batches] == sizes, "Sizes changed with the scores."
            indices = {index for batch in batches for index in batch}
            assert indices <= set(range(len(self.pairs()))), f"Not all of {indices} are pairs."

    def test_scores_change_nothing_before_their_phase(self) -> None:
        """What was trained on before a phase is the same whatever is measured when it begins."""
        ends = [0, *accumulate(phase.steps for phase in self._phases(EPOCHS))]
        whole = self._given(self._drawn(0))
        for number, end in enumerate(ends[:-1]):
            others = [*self._drawn(0)[:number], *self._drawn(1)[number:]]
            assert self._given(others)[:end] == whole[:end], (
                f"The scores of phase {number + 1} or later change the {end} batches before it."
            )

    def _phases(self, epochs: int) -> Sequence[Phase]:
        return self.component.phases(self.pairs(), SIZE, epochs)

    def _drawn(self, seed: int) -> list[list[float]]:
        """Scores of all phases, all 0 where none are asked for."""
        draw, count = random.Random(seed), len(self.pairs())
        return [
            [draw.gauss(0.0, 1.0) if phase.score else 0.0 for _ in range(count)]
            for phase in self._phases(EPOCHS)
        ]

    def _given(self, scores: Sequence[Sequence[float]]) -> list[tuple[int, ...]]:
        batches = self.component.ordered(self.pairs(), SIZE, SEED, EPOCHS, scores)
        return [tuple(batch) for batch in batches]
