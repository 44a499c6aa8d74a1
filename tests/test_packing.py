"""Rows cut into micro-batches: nothing lost, nothing cut apart, nothing computed needlessly."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpt.errors import BadData
from cpt.training.data.packing import Layout, Micro, branches, microbatches
from cpt.training.data.rows import Row

SHARED = Layout(packed=True, shared=True)
LAYOUTS = {"padded": Layout(), "packed": Layout(packed=True), "shared": SHARED}

ids = st.lists(st.integers(0, 9), min_size=1, max_size=12)
group = st.one_of(
    st.builds(
        lambda p, each: [Row(p, a) for a in each], ids, st.lists(ids, min_size=1, max_size=4)
    ),
    st.lists(st.builds(Row, ids, ids), min_size=1, max_size=3),
)
groups_of_rows = st.lists(group, min_size=1, max_size=8)
layouts = st.sampled_from(list(LAYOUTS.values()))


def rows_of(micro: Micro, groups: list[list[Row]]) -> list[Row]:
    return [row for index in micro.groups for row in groups[index]]


def context(micro: Micro, at: int) -> list[int]:
    """The tokens that the one at a flat place may see, itself included, by their definition."""
    line, place = divmod(at, micro.ids.shape[1])
    if not micro.spans:
        return micro.ids[line, : place + 1].tolist()
    starts = np.cumsum([0, *(span.length for span in micro.spans)])
    number = int(np.searchsorted(starts, place, side="right")) - 1
    seen = micro.ids[0, starts[number] : place + 1].tolist()
    prefix = micro.spans[number].prefix
    if prefix is not None:
        seen = micro.ids[0, starts[prefix] : starts[prefix + 1]].tolist() + seen
    return seen


@given(groups_of_rows, st.integers(1, 60), layouts)
def test_every_answer_token_is_predicted_from_its_own_row(
    groups: list[list[Row]], tokens: int, layout: Layout
) -> None:
    micros = microbatches(groups, tokens, layout)
    assert sorted(index for micro in micros for index in micro.groups) == list(range(len(groups)))
    for micro in micros:
        rows = rows_of(micro, groups)
        assert micro.lengths == tuple(len(row.answer) for row in rows)
        assert micro.targets.tolist() == [each for row in rows for each in row.answer]
        places = iter(micro.index.tolist())
        for row in rows:
            for seen in range(len(row.answer)):
                place = next(places)
                past = [*row.prompt, *row.answer[:seen]]
                assert context(micro, place) == past
                assert int(micro.positions.flatten()[place]) == len(past) - 1


@given(groups_of_rows, st.integers(1, 60), layouts)
def test_the_budget_holds_unless_one_group_is_above_it(
    groups: list[list[Row]], tokens: int, layout: Layout
) -> None:
    for micro in microbatches(groups, tokens, layout):
        assert micro.size <= tokens or len(micro.groups) == 1


@given(groups_of_rows, st.integers(1, 60))
def test_packed_lines_have_no_padding(groups: list[list[Row]], tokens: int) -> None:
    micros = microbatches(groups, tokens, LAYOUTS["packed"])
    real = sum(row.inputs for group in groups for row in group)
    assert sum(micro.size for micro in micros) == real


def test_sharing_computes_a_prompt_once() -> None:
    prompt = list(range(20))
    rows = [Row(prompt, [1, 2, 3]) for _ in range(3)]
    (micro,) = microbatches([rows], 999, SHARED)
    assert micro.size == 20 + 3 * 2
    assert micro.positions.tolist()[0] == [*range(20), *[20, 21] * 3]
    assert [span.prefix for span in micro.spans] == [None, 0, 0, 0]


def test_an_answer_of_one_token_needs_nothing_but_the_prompt() -> None:
    rows = [Row([1, 2, 3], [4]), Row([1, 2, 3], [5])]
    (micro,) = microbatches([rows], 999, SHARED)
    assert micro.size == 3
    assert micro.index.tolist() == [2, 2]


def test_different_prompts_are_not_shared() -> None:
    rows = [Row([1, 2], [3, 4]), Row([1, 5], [3, 4])]
    assert branches(rows, SHARED) == [(0, [0]), (1, [1])]


@pytest.mark.parametrize(("prompt", "shared"), [(2, False), (600, True)])
def test_sharing_must_pay(prompt: int, shared: bool) -> None:
    rows = [Row(range(prompt), range(300)) for _ in range(2)]
    # As a model of 40 million weights has it.
    layout = attrs.evolve(SHARED, per_token=5e7, per_key=16384.0, per_span=1.6e8)
    assert (len(branches(rows, layout)) == 1) is shared


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_sums_and_padding(lengths: list[int]) -> None:
    rows = [Row([0], list(range(length))) for length in lengths]
    (micro,) = microbatches([rows], 999, LAYOUTS["packed"])
    flat = torch.arange(1.0, sum(lengths) + 1)
    lines, mask = micro.padded(flat)
    assert torch.equal(lines[mask], flat)
    assert mask.sum(1).tolist() == lengths
    assert torch.equal(micro.sums(flat), (lines * mask).sum(1))


def test_a_micro_batch_moves_whole() -> None:
    for layout in LAYOUTS.values():
        (micro,) = microbatches([[Row([1], [2, 3])]], 99, layout)
        moved = micro.to("meta")
        tensors = [moved.ids, moved.positions, moved.index, moved.targets]
        assert all(each.is_meta for each in tensors)
        assert moved.mask is None or moved.mask.is_meta
        assert moved.lengths == micro.lengths


@pytest.mark.parametrize(("prompt", "answer"), [([], [1]), ([1], []), ([[1]], [1])])
def test_a_row_needs_both_sides(prompt: list[int], answer: list[int]) -> None:
    with pytest.raises(BadData, match="at least one token"):
        Row(prompt, answer)
