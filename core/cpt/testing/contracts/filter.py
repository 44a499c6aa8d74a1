"""What every filter promises."""

from __future__ import annotations

import gc
import json
import pickle
from collections.abc import Iterator, Sequence

import attrs

from cpt.roles import Filter
from cpt.testing.contracts.component import ComponentContract, in_fresh_process
from cpt.testing.fakes import fake_pairs
from cpt.types import Drop, Pair

HELD = 64
"""Pairs that a filter may hold at once."""

ELSEWHERE = """
import json, pickle, sys
filter, pairs = pickle.load(sys.stdin.buffer)
print(json.dumps([[type(decision).__name__, repr(decision)] for decision in filter.filter(pairs)]))
"""


class FilterContract(ComponentContract[Filter]):
    """What every filter promises."""

    def pairs(self) -> list[Pair]:
        """What is filtered here: override it if the filter asks for something special."""
        return fake_pairs(33)

    def test_each_pair_gets_one_decision_in_order(self) -> None:
        """It yields for each pair the pair, of the same id and prompt, or a `Drop`."""
        pairs, decisions = self.pairs(), self._decisions()
        assert len(decisions) == len(pairs), (
            f"{len(pairs)} pairs got {len(decisions)} decisions; yield a Drop for one that goes."
        )
        for pair, decision in zip(pairs, decisions, strict=True):
            assert isinstance(decision, Pair | Drop), f"It yielded {decision!r}."
            if isinstance(decision, Pair):
                named, expected = _names(decision), _names(pair)
                assert named == expected, f"For the pair {expected} it yielded {named}."

    def test_some_pairs_are_kept(self) -> None:
        """Not all of the pairs here are dropped, or a run would stop."""
        kept = any(isinstance(decision, Pair) for decision in self._decisions())
        assert kept, "It dropped every pair; override `pairs` if they are not what it is for."

    def test_a_reason_is_a_short_name(self) -> None:
        """The reason of a `Drop` is one word, as it is counted; its detail is one line."""
        for decision in self._decisions():
            if isinstance(decision, Drop):
                word = decision.reason.split() == [decision.reason]
                assert word, f"The reason {decision.reason!r} must be one word, as in `too_long`."
                one = len(decision.detail.splitlines()) <= 1
                assert one, f"The detail {decision.detail!r} must be one line."

    def test_no_pairs_give_no_decision(self) -> None:
        """An empty set is no error."""
        left = list(self.component.filter(_Stream([])))
        assert not left, f"No pairs gave {left}."

    def test_pairs_come_one_by_one(self) -> None:
        """It only loops over `pairs`, as a run gives them: they have no length and no index."""
        streamed = list(self.component.filter(_Stream(self.pairs())))
        assert streamed == self._decisions(), "Pairs from the disk got other decisions."

    def test_pairs_are_not_held_in_memory(self) -> None:
        """However many pairs there are, it holds no more than a few of them."""
        some = self.pairs()
        copies = -(-3 * HELD // len(some))
        many = [_numbered(pair, copy) for copy in range(copies) for pair in some]
        before, most = _alive(), 0
        for number, _ in enumerate(self.component.filter(_Stream(many))):
            if number % HELD == 0 or number == len(many) - 1:
                most = max(most, _alive() - before)
        assert most <= HELD, (
            f"Of {len(many)} pairs it held {most} at once; loop over `pairs` again, or keep "
            "numbers of them."
        )

    def test_the_same_pairs_give_the_same_result(self) -> None:
        """Two at once, that take turns, and one after them decide alike: there is no state."""
        one, other = (self.component.filter(_Stream(self.pairs())) for _ in range(2))
        turns = list(zip(one, other, strict=True))
        for (first, second), third in zip(turns, self._decisions(), strict=True):
            assert first == second == third, f"The same pairs gave {first}, {second}, {third}."

    def test_another_process_decides_the_same(self) -> None:
        """Neither the hash seed nor another process changes a decision."""
        arguments = pickle.dumps((self.component, self.pairs()))
        printed = in_fresh_process(ELSEWHERE, arguments, PYTHONHASHSEED="4242")
        here = [[type(decision).__name__, repr(decision)] for decision in self._decisions()]
        assert json.loads(printed.splitlines()[-1]) == here, (
            "Another process decided otherwise; do not depend on hashes or on the order of sets."
        )

    def _decisions(self) -> Sequence[Pair | Drop]:
        return list(self.component.filter(_Stream(self.pairs())))


@attrs.frozen
class _Stream:
    """Pairs that are made each time they are gone through."""

    pairs: Sequence[Pair]

    def __iter__(self) -> Iterator[Pair]:
        return (attrs.evolve(pair) for pair in self.pairs)


def _names(pair: Pair) -> tuple[str, str]:
    return pair.id, pair.prompt.id


def _numbered(pair: Pair, copy: int) -> Pair:
    return attrs.evolve(pair, id=f"{pair.id} {copy}")


def _alive() -> int:
    """How many pairs there are in memory."""
    return sum(type(thing) is Pair for thing in gc.get_objects())
