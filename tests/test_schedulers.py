"""Curricula: who is shown when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt import CptError, Pair, Phase, PhasedScheduler, Scheduler
from cpt.testing import PhasedSchedulerContract, SchedulerContract, fake_pairs
from cpt_curriculum.ordering import CurriDpo, Sorted
from cpt_curriculum.pacing import Selective, SelfPaced
from cpt_curriculum.shuffle import Shuffle
from cpt_curriculum.targets import WeakToStrong
from cpt_curriculum.tiers import Curriculum, Staged


class TestShuffle(SchedulerContract):
    component = Shuffle()


class TestCurriculum(SchedulerContract):
    component = Curriculum()


class TestConstantMix(SchedulerContract):
    component = Curriculum(alpha=0.25, reverse=True)


class TestStagedByTier(SchedulerContract):
    component = Staged()


class TestStagedByMargin(SchedulerContract):
    component = Staged(by="margin", reverse=True)


class TestSorted(SchedulerContract):
    component = Sorted()


class TestSortedAndCut(SchedulerContract):
    component = Sorted(by="length_ratio", reverse=True, keep=0.5)


class TestCurriDpo(PhasedSchedulerContract):
    component = CurriDpo()


class TestSelfPaced(PhasedSchedulerContract):
    component = SelfPaced()


class TestHardestFirst(PhasedSchedulerContract):
    component = SelfPaced(parts=3, by="loss", reverse=True)


class TestSelective(PhasedSchedulerContract):
    component = Selective()


class TestWeakToStrong(SchedulerContract):
    component = WeakToStrong()


def ladder(prompts: int) -> list[Pair]:
    """Three pairs for each prompt: one of tier 2, two of tier 1."""
    return fake_pairs(3 * prompts)


def tiers(scheduler: Scheduler, pairs: list[Pair], size: int, epochs: int = 1) -> list[list[int]]:
    batches = scheduler.batches(pairs, size, seed=3, epochs=epochs)
    return [[pairs[index].tier for index in batch] for batch in batches]


def hard_share(batches: Sequence[Sequence[int]]) -> float:
    return fmean(tier == 1 for batch in batches for tier in batch)


EVERY_PAIR = [
    Shuffle(),
    Staged(),
    Staged(by="margin"),
    Sorted(),
    Sorted(by="tier"),
    CurriDpo(),
    SelfPaced(),
]


@pytest.mark.parametrize("scheduler", EVERY_PAIR)
@given(count=st.integers(1, 40), size=st.integers(1, 9), epochs=st.integers(1, 3))
def test_every_pair_is_shown_once_an_epoch(
    scheduler: Scheduler, count: int, size: int, epochs: int
) -> None:
    batches = list(scheduler.batches(fake_pairs(count), size, 0, epochs))
    shown = Counter(index for batch in batches for index in batch)
    assert shown == dict.fromkeys(range(count), epochs)
    assert len(batches) == epochs * -(-count // size)


def test_epochs_and_seeds_differ() -> None:
    pairs = fake_pairs(40)
    first, second = (list(batch) for batch in Shuffle().batches(pairs, 40, seed=0, epochs=2))
    (other,) = Shuffle().batches(pairs, 40, seed=1, epochs=1)
    assert first != second
    assert first != list(other)


def test_the_curriculum_of_the_paper() -> None:
    """P(hard) is 0 at the first step, 1 at the last, and grows linearly over the whole run."""
    batches = tiers(Curriculum(), ladder(4000), size=200, epochs=2)
    assert len(batches) == 40
    assert set(batches[0]) == {2}
    assert set(batches[-1]) == {1}
    for quarter in range(4):
        share = hard_share(batches[10 * quarter : 10 * quarter + 10])
        assert share == pytest.approx((10 * quarter + 4.5) / 39, abs=0.03)


def test_the_anticurriculum_is_its_mirror() -> None:
    batches = tiers(Curriculum(reverse=True), ladder(400), size=100)
    assert set(batches[0]) == {1}
    assert set(batches[-1]) == {2}


@pytest.mark.parametrize(("reverse", "share"), [(False, 0.3), (True, 0.7)])
def test_a_constant_mix(reverse: bool, share: float) -> None:
    batches = tiers(Curriculum(alpha=0.3, reverse=reverse), ladder(4000), size=500)
    assert hard_share(batches) == pytest.approx(share, abs=0.03)
    assert hard_share(batches[:4]) == pytest.approx(hard_share(batches[4:]), abs=0.05)


def test_one_pair_of_every_prompt_an_epoch() -> None:
    pairs = ladder(50)
    shown = [
        pairs[index].prompt.id
        for batch in Curriculum().batches(pairs, 8, seed=0, epochs=1)
        for index in batch
    ]
    assert Counter(shown) == {pair.prompt.id: 1 for pair in pairs}


def test_every_hard_pair_of_a_prompt_has_its_turn() -> None:
    pairs = ladder(1)
    batches = Curriculum(alpha=1.0).batches(pairs, 1, seed=0, epochs=60)
    hard = {index for index, pair in enumerate(pairs) if pair.tier == 1}
    assert len(hard) == 2
    assert {index for batch in batches for index in batch} == hard


def test_a_prompt_without_the_tier_gives_its_nearest() -> None:
    pairs = ladder(2)
    lonely = [pair for pair in pairs if pair.prompt.id == "p0"]
    lonely += [pair for pair in pairs if pair.prompt.id == "p1" and pair.tier == 2]
    batches = tiers(Curriculum(alpha=1.0), lonely, size=2)
    assert Counter(batches[0]) == {1: 1, 2: 1}


def test_the_tiers_can_be_named() -> None:
    pairs = [
        attrs.evolve(pair, tier=tier, id=f"{pair.id}{tier}")
        for pair in ladder(20)
        for tier in (1, 2, 3)
    ]
    batches = tiers(Curriculum(easy=2, hard=1), pairs, size=5)
    assert {tier for batch in batches for tier in batch} == {1, 2}


def test_stages_follow_each_other() -> None:
    pairs = ladder(20)
    shown = [tier for batch in tiers(Staged(), pairs, size=7) for tier in batch]
    assert shown == sorted(shown, reverse=True)
    shown = [tier for batch in tiers(Staged(reverse=True), pairs, size=7) for tier in batch]
    assert shown == sorted(shown)


def test_margins_fall() -> None:
    pairs = fake_pairs(30)
    order = [i for batch in Staged(by="margin").batches(pairs, 4, 0, 1) for i in batch]
    margins = [pairs[index].margin or 0.0 for index in order]
    assert margins == sorted(margins, reverse=True)


def order_of(scheduler: Scheduler, pairs: Sequence[Pair], epochs: int = 1) -> list[int]:
    return [index for batch in scheduler.batches(pairs, 4, 0, epochs) for index in batch]


@pytest.mark.parametrize("by", ["margin", "tier", "chosen_score", "length_ratio", "info.loss"])
def test_sorted_by_a_number(by: str) -> None:
    pairs = [
        attrs.evolve(
            pair,
            chosen_score=float(number % 7),
            info={"loss": (number * 5) % 13},
            chosen=attrs.evolve(pair.chosen, text="long " * (number % 5 + 1)),
        )
        for number, pair in enumerate(fake_pairs(30))
    ]
    known = {"info.loss": lambda pair: pair.info["loss"]}
    known["length_ratio"] = lambda pair: len(pair.chosen.text) / len(pair.rejected.text)
    number = known.get(by, lambda pair: getattr(pair, by))
    shown = [number(pairs[index]) for index in order_of(Sorted(by=by), pairs)]
    assert shown == sorted(shown, reverse=True) and len(shown) == 30
    kept = [
        number(pairs[index]) for index in order_of(Sorted(by=by, reverse=True, keep=0.3), pairs)
    ]
    assert kept == sorted(shown)[:9]


def test_sorted_by_what_nobody_knows() -> None:
    with pytest.raises(CptError, match=r"scheduler.by is 'size': give tier, margin, .* info.NAME"):
        Sorted(by="size").check()
    Sorted(by="info.size").check()


def test_curri_dpo_begins_with_the_widest_gap_of_every_prompt() -> None:
    pairs = [
        attrs.evolve(pair, margin=float(number % 3) + number // 3, id=f"{number}")
        for number, pair in enumerate(ladder(10))
    ]
    order = order_of(CurriDpo(), pairs, epochs=2)
    stages = [order[start : start + 10] for start in range(0, 60, 10)]
    assert [{index % 3 for index in stage} for stage in stages] == [{2}, {1}, {0}] * 2
    assert all(len({index // 3 for index in stage}) == 10 for stage in stages)
    assert stages[0] != sorted(stages[0])  # in random order within a stage


def test_stages_renew_their_reference() -> None:
    """Ten prompts have three stages of ten pairs, met in batches of four."""
    pairs = ladder(10)
    phases = CurriDpo().phases(pairs, 4, epochs=2)
    assert [phase.steps for phase in phases] == [3, 2, 3] * 2
    assert [phase.refresh for phase in phases] == [False, *[True] * 5]
    assert not any(phase.refresh for phase in CurriDpo(refresh=False).phases(pairs, 4, 2))


def followed(scheduler: PhasedScheduler, scores: list[list[float]], epochs: int = 1) -> list[int]:
    batches = scheduler.ordered(fake_pairs(len(scores[0])), 4, 0, epochs, scores)
    return [index for batch in batches for index in batch]


def test_self_paced_takes_the_easiest_of_those_that_are_left() -> None:
    """Parts of 12 pairs in batches of 4: random, then by the scores of each part."""
    nothing, rising = [0.0] * 48, [float(number) for number in range(48)]
    measured = [phase.score for phase in SelfPaced().phases(fake_pairs(48), 4, 2)]
    margins = "rewards/margins"
    assert measured == ["", margins, margins, "", margins, margins, margins, ""]
    order = followed(SelfPaced(), [nothing, rising, rising[::-1], nothing])
    first = set(order[:12])
    left = [number for number in range(48) if number not in first]
    assert order[:12] != sorted(order[:12])
    assert order[12:24] == left[:-13:-1]  # the largest margins of those that are left
    assert order[24:36] == left[:12]  # now the smallest numbers have the largest margins
    assert set(order[36:]) == set(left[12:-12])
    hardest = followed(SelfPaced(reverse=True), [nothing, rising, rising, nothing])
    assert hardest[12:24] == [number for number in range(48) if number not in hardest[:12]][:12]


@pytest.mark.parametrize("by", ["loss", "margin"])
def test_selective_keeps_the_easiest_of_what_it_has_not_seen(by: Any) -> None:
    scores = [float((number * 7) % 40) for number in range(40)]
    order = followed(Selective(by=by), [[0.0] * 40, scores], epochs=2)
    seen, first, second = order[:8], order[8:24], order[24:]
    unseen = [number for number in range(40) if number not in seen]
    easiest = sorted(unseen, key=scores.__getitem__, reverse=by == "margin")
    assert first == second == easiest[:16]


def test_selective_needs_pairs_to_measure() -> None:
    with pytest.raises(CptError, match="there are 4, and train"):
        Selective().phases(fake_pairs(4), 4, 1)


def test_targets_grow_stronger() -> None:
    pairs = ladder(200)  # strong over middle and weak, middle over weak
    order = order_of(WeakToStrong(), pairs)
    assert len(order) == 200
    authors = [pairs[index].chosen.author for index in order]
    assert set(authors[:4]) == {"middle"} and set(authors[-4:]) == {"strong"}
    early, late = authors[:100].count("strong"), authors[100:].count("strong")
    assert early < 45 and late > 55
    reversed_ = [
        pairs[index].chosen.author for index in order_of(WeakToStrong(reverse=True), pairs)
    ]
    assert set(reversed_[:4]) == {"strong"} and set(reversed_[-4:]) == {"middle"}


def test_who_is_stronger_must_be_clear() -> None:
    pair = ladder(1)[0]
    turned = attrs.evolve(pair, chosen=pair.rejected, rejected=pair.chosen, id="turned")
    with pytest.raises(CptError, match="each preferred to the other"):
        order_of(WeakToStrong(), [pair, turned])
    with pytest.raises(CptError, match="all chosen answers are by 'strong'"):
        order_of(WeakToStrong(), [pair])


@pytest.mark.parametrize(
    ("scheduler", "change", "message"),
    [
        (Curriculum(), {"tier": 0}, "has no tier"),
        (Staged(), {"tier": 0}, "has no tier"),
        (Staged(by="margin"), {"margin": None}, "has no margin"),
        (Curriculum(), {"tier": 1}, "both tier 1 .the pairs have only tier 1"),
        (Sorted(), {"margin": None}, "has no margin"),
        (Sorted(by="tier"), {"tier": 0}, "has no tier"),
        (Sorted(by="info.loss"), {"info": {"loss": "low"}}, "has no info.loss; it has 'low'"),
        (CurriDpo(), {"margin": None, "tier": 0}, "has neither margin nor tier"),
        (Curriculum(easy=5), {}, "scheduler.easy is 5, but the pairs have tiers 1, 2"),
    ],
)
def test_pairs_that_do_not_serve(
    scheduler: Scheduler, change: dict[str, Any], message: str
) -> None:
    pairs = [attrs.evolve(pair, **change) for pair in ladder(3)]
    with pytest.raises(CptError, match=message):
        list(scheduler.batches(pairs, 2, 0, 1))


def test_a_share_is_a_share() -> None:
    with pytest.raises(CptError, match="alpha"):
        Curriculum(alpha=1.5).check()


@attrs.frozen
class Restless(PhasedScheduler):
    """Lets what it measures late change what came before, and loses count of its steps."""

    name = "restless"

    def phases(self, pairs: Sequence[Pair], size: int, epochs: int) -> Sequence[Phase]:
        return [Phase(steps=1), Phase(steps=2, score="loss")]

    def ordered(
        self, pairs: Sequence[Pair], size: int, seed: int, epochs: int, scores: Any
    ) -> Iterator[Sequence[int]]:
        order = sorted(range(len(pairs)), key=lambda index: scores[-1][index])
        yield from batches_of(order if any(scores[-1]) else order[:size], size)


def batches_of(order: Sequence[int], size: int) -> list[Sequence[int]]:
    return [order[start : start + size] for start in range(0, len(order), size)]


@pytest.mark.parametrize(
    "promise",
    [
        "test_phases_add_up_to_all_batches",
        "test_any_scores_give_full_batches_in_range",
        "test_scores_change_nothing_before_their_phase",
    ],
)
def test_wrong_phases_are_caught(promise: str) -> None:
    contract = PhasedSchedulerContract()
    contract.component = Restless()
    with pytest.raises(AssertionError, match=r"\.(\n|$)"):
        getattr(contract, promise)()
