"""Sequences packed for the model: nothing lost, nothing cut, nothing computed needlessly."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cpt.errors import BadData
from cpt.training.data.inputs import ModelInputs
from cpt.training.data.packing import Branches, Layout, branches, model_inputs
from cpt.training.data.sequences import TokenSequence

SHARED = Layout(packed=True, shared=True)
LAYOUTS = {
    **{"padded": Layout(), "compact": Layout(compact=True)},
    **{"packed": Layout(packed=True), "shared": SHARED},
}

ids = st.lists(st.integers(0, 9), min_size=1, max_size=12)
group = st.one_of(
    st.builds(
        lambda prompt, answers: [TokenSequence(prompt, answer) for answer in answers],
        ids,
        st.lists(ids, min_size=1, max_size=4),
    ),
    st.lists(st.builds(TokenSequence, ids, ids), min_size=1, max_size=3),
)
groups_of_sequences = st.lists(group, min_size=1, max_size=8)
layouts = st.sampled_from(list(LAYOUTS.values()))


def sequences_of(inputs: ModelInputs, groups: list[list[TokenSequence]]) -> list[TokenSequence]:
    return [sequence for index in inputs.groups for sequence in groups[index]]


def context(inputs: ModelInputs, index: int) -> list[int]:
    """The tokens that the one at a flat index may see, itself included, by their definition."""
    row, column = divmod(index, inputs.input_ids.shape[1])
    if not inputs.segments:
        return inputs.input_ids[row, : column + 1].tolist()
    starts = np.cumsum([0, *(segment.length for segment in inputs.segments)])
    number = int(np.searchsorted(starts, column, side="right")) - 1
    seen = inputs.input_ids[0, starts[number] : column + 1].tolist()
    prefix = inputs.segments[number].prefix
    if prefix is not None:
        seen = inputs.input_ids[0, starts[prefix] : starts[prefix + 1]].tolist() + seen
    return seen


@given(groups_of_sequences, st.integers(1, 60), layouts)
def test_every_answer_token_is_predicted_from_its_own_row(
    groups: list[list[TokenSequence]], tokens: int, layout: Layout
) -> None:
    calls = model_inputs(groups, tokens, layout)
    assert sorted(index for inputs in calls for index in inputs.groups) == list(range(len(groups)))
    for inputs in calls:
        sequences = sequences_of(inputs, groups)
        assert inputs.lengths == tuple(len(sequence.answer) for sequence in sequences)
        assert inputs.targets.tolist() == [
            token for sequence in sequences for token in sequence.answer
        ]
        indices = iter(inputs.logits_indices.tolist())
        for sequence in sequences:
            for seen in range(len(sequence.answer)):
                predicted = next(indices)
                past = [*sequence.prompt, *sequence.answer[:seen]]
                assert context(inputs, predicted) == past
                assert int(inputs.position_ids.flatten()[predicted]) == len(past) - 1


@given(groups_of_sequences, st.integers(1, 60), layouts)
def test_the_budget_holds_unless_one_group_is_above_it(
    groups: list[list[TokenSequence]], tokens: int, layout: Layout
) -> None:
    for inputs in model_inputs(groups, tokens, layout):
        assert inputs.size <= tokens or len(inputs.groups) == 1


@given(groups_of_sequences, st.integers(1, 60))
def test_packed_inputs_have_no_padding(groups: list[list[TokenSequence]], tokens: int) -> None:
    calls = model_inputs(groups, tokens, LAYOUTS["packed"])
    real = sum(sequence.input_length for group in groups for sequence in group)
    assert sum(inputs.size for inputs in calls) == real


def test_sharing_computes_a_prompt_once() -> None:
    prompt = list(range(20))
    sequences = [TokenSequence(prompt, [1, 2, 3]) for _ in range(3)]
    (inputs,) = model_inputs([sequences], 999, SHARED)
    assert inputs.size == 20 + 3 * 2
    assert inputs.position_ids.tolist()[0] == [*range(20), *[20, 21] * 3]
    assert [segment.prefix for segment in inputs.segments] == [None, 0, 0, 0]


def test_an_answer_of_one_token_needs_nothing_but_the_prompt() -> None:
    sequences = [TokenSequence([1, 2, 3], [4]), TokenSequence([1, 2, 3], [5])]
    (inputs,) = model_inputs([sequences], 999, SHARED)
    assert inputs.size == 3
    assert inputs.logits_indices.tolist() == [2, 2]


def test_different_prompts_are_not_shared() -> None:
    sequences = [TokenSequence([1, 2], [3, 4]), TokenSequence([1, 5], [3, 4])]
    assert branches(sequences, SHARED) == [Branches(0, (0,)), Branches(1, (1,))]


@pytest.mark.parametrize(("prompt", "shared"), [(2, False), (600, True)])
def test_sharing_must_pay(prompt: int, shared: bool) -> None:
    sequences = [TokenSequence(range(prompt), range(300)) for _ in range(2)]
    # As a model of 40 million weights has it.
    layout = attrs.evolve(SHARED, per_token=5e7, per_key=16384.0, per_segment=1.6e8)
    assert (len(branches(sequences, layout)) == 1) is shared


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_sums_and_padding(lengths: list[int]) -> None:
    sequences = [TokenSequence([0], list(range(length))) for length in lengths]
    (inputs,) = model_inputs([sequences], 999, LAYOUTS["packed"])
    flat = torch.arange(1.0, sum(lengths) + 1)
    padded, mask = inputs.padded(flat)
    assert torch.equal(padded[mask], flat)
    assert mask.sum(1).tolist() == lengths
    assert torch.equal(inputs.sums(flat), (padded * mask).sum(1))


def test_a_micro_batch_moves_whole() -> None:
    for layout in LAYOUTS.values():
        (inputs,) = model_inputs([[TokenSequence([1], [2, 3])]], 99, layout)
        moved = inputs.to(torch.device("meta"))
        tensors = [moved.input_ids, moved.position_ids, moved.logits_indices, moved.targets]
        assert all(tensor.is_meta for tensor in tensors)
        assert moved.attention_mask is None or moved.attention_mask.is_meta
        assert moved.lengths == inputs.lengths


@pytest.mark.parametrize(("prompt", "answer"), [([], [1]), ([1], []), ([[1]], [1])])
def test_a_sequence_needs_both_sides(prompt: list[int], answer: list[int]) -> None:
    with pytest.raises(BadData, match="at least one token"):
        TokenSequence(prompt, answer)


@given(groups_of_sequences, st.integers(1, 60))
def test_a_place_that_is_left_out_equals_one_that_is_kept(
    groups: list[list[TokenSequence]], tokens: int
) -> None:
    for inputs in model_inputs(groups, tokens, LAYOUTS["compact"]):
        if inputs.kept is None or inputs.places is None:
            continue
        assert inputs.attention_mask is not None
        assert inputs.tokens == len(inputs.kept) < inputs.size
        for place in inputs.attention_mask.flatten().nonzero()[:, 0].tolist():
            taken = int(inputs.kept[inputs.places[place]])
            assert context(inputs, taken) == context(inputs, place)


def test_a_prompt_is_kept_once_and_padding_never() -> None:
    prompt = [1, 2, 3, 4]
    group = [TokenSequence(prompt, [5, 6]), TokenSequence(prompt, [5, 6, 7, 8, 9])]
    (inputs,) = model_inputs([group], 99, LAYOUTS["compact"])
    assert inputs.kept is not None
    assert inputs.kept.tolist() == [0, 1, 2, 3, 4, 12, 13, 14, 15]
    (alike,) = model_inputs([[TokenSequence([1], [2, 3])]], 99, LAYOUTS["compact"])
    assert alike.kept is None  # nothing to leave out
