"""AlpacaEval's annotations in and out, and answers that are matched prompt by prompt."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt.data import (
    Annotation,
    merged,
    read_annotations,
    read_difficulties,
    read_regularizer,
    read_responses,
    write_annotations,
    write_outputs,
)
from cpt.errors import BadData
from cpt.matches import figures
from cpt.matches.answers import matched
from cpt.types import Message, Prompt, Response

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
WIN = st.none() | st.floats(0, 1)


def saved(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def row(number: int = 0, **given: Any) -> dict[str, Any]:
    """As AlpacaEval writes it."""
    return {
        "instruction": f"ask {number}",
        "output_1": "yes",
        "generator_1": "text_davinci_003",
        "output_2": "of course",
        "generator_2": "mine",
        "annotator": "alpaca_eval_gpt4",
        "preference": 2,
    } | given


def test_it_reads_what_alpaca_eval_writes(tmp_path: Path) -> None:
    file = saved(tmp_path / "annotations.json", [row(), row(1, preference=None)])
    one, other = read_annotations(file)
    assert (one.win, other.win) == (1.0, None)
    assert one.generators == ("text_davinci_003", "mine")
    assert (one.lengths, one.key, one.annotator) == ((3, 9), "ask 0", "alpaca_eval_gpt4")


@given(st.lists(st.tuples(WIN, WIN, TEXT, TEXT), min_size=1, max_size=5))
def test_what_is_written_is_read(tmp_path_factory, drawn) -> None:
    path = tmp_path_factory.mktemp("annotations") / "annotations.json"
    annotations = [
        Annotation(
            win=win,
            id=f"p{place}",
            instruction="ask",
            outputs=(one, two),
            lengths=(len(one), len(two)),
            generators=("base", "mine"),
            annotator="judge",
            shown_first=first,
        )
        for place, (win, first, one, two) in enumerate(drawn)
    ]
    write_annotations(path, annotations)
    for read, written in zip(read_annotations(path), annotations, strict=True):
        assert read.win == pytest.approx(written.win)
        assert attrs.evolve(read, win=written.win) == written


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "holds no rows"),
        ([row(), row()], "'ask 0' is there twice"),
        ([row(preference=3)], "item 1: a preference is from 1 to 2, .* not 3"),
        ([row(preference="m")], "preference is 'm', not a number"),
        ([row(preference=True)], "preference is True, not a number"),
        ([{"instruction": "a", "output": "b"}], "a column preference, .* another version"),
        ([row(output_1=None)], "must both be texts"),
        ([row(), row(1, generator_2="other")], r"of several models \(mine, other\)"),
        ([{"id": 1, "preference": 1, "len_1": -1, "len_2": 2}], "less than 0"),
        ([{"id": 1, "preference": 1, "len_1": "a", "len_2": 2}], "len_1 is 'a'"),
        ([row(presented_swapped="perhaps")], "neither that the answers were swapped"),
    ],
)
def test_what_is_no_set_of_annotations_is_refused(tmp_path: Path, rows: Any, said: str) -> None:
    with pytest.raises(BadData, match=said):
        read_annotations(saved(tmp_path / "annotations.json", rows))


def test_a_scale_from_0_to_1_is_not_taken_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    read_annotations(saved(tmp_path / "a.json", [row(n, preference=n) for n in range(3)]))
    assert not caplog.text
    read_annotations(saved(tmp_path / "b.json", [row(n, preference=n % 2) for n in range(3)]))
    assert "b.json: every preference is 0 or 1, which means a draw or a loss" in caplog.text


def test_one_model_of_several_is_taken_by_name(tmp_path: Path) -> None:
    file = saved(tmp_path / "both.json", [row(), row(generator_2="other", preference=1)])
    assert [one.win for one in read_annotations(file, "other")] == [0.0]
    with pytest.raises(BadData, match="there are: mine, other"):
        read_annotations(file, "mime")


def test_nothing_to_count_and_one_example_invent_no_interval() -> None:
    one = Annotation(win=1.0, lengths=(3, 5))
    found = figures([one])
    assert (found.win_rate, found.n_total) == (100, 1)
    assert (found.interval, found.standard_error, found.length_adjusted_winrate) == (None,) * 3
    with pytest.raises(BadData, match="none of 1 comparisons has a preference"):
        figures([attrs.evolve(one, win=None)])


def test_judges_are_merged_prompt_by_prompt() -> None:
    one = Annotation(win=1.0, id="a", lengths=(1, 2), annotator="x", shown_first=1.0)
    other = Annotation(win=0.5, id="a", lengths=(1, 2), annotator="y")
    alone = Annotation(win=0.0, id="b", lengths=(1, 2), annotator="y")
    both, rest = merged([[one], [other, alone]])
    assert (both.win, both.annotator, both.shown_first) == (0.75, "x+y", 1.0)
    assert rest == alone
    with pytest.raises(BadData, match="'a' has other answers"):
        merged([[one], [attrs.evolve(other, lengths=(1, 3))]])
    with pytest.raises(BadData, match="cannot be merged"):
        merged([[Annotation(win=1.0)]])


def arena(uid: str, *verdicts: str | None, **more: Any) -> dict[str, Any]:
    """As Arena-Hard writes it: in the first game the baseline's answer is A."""
    games = [{"score": verdict} for verdict in verdicts]
    return {"uid": uid, "model": "mine", "judge": "gpt-4.1", "games": games} | more


def test_arena_hards_judgements_are_read_with_strong_verdicts_counted_three_times(
    tmp_path: Path,
) -> None:
    rows = [arena("a", "B>>A", "A>B"), arena("b", "A>B", "A=B"), arena("c", "A>B", None)]
    strong, weak, none = read_annotations(saved(tmp_path / "mine.json", rows))
    assert (strong.win, strong.weight, strong.shown_first, strong.shown_second) == (1, 2, 1, 1)
    assert (weak.win, weak.weight, weak.shown_first, weak.shown_second) == (0.25, 1, 0.5, 0)
    assert (none.win, none.note) == (None, "a game has no verdict")
    found = figures([strong, weak, none])
    # The leaderboard's mean over [1, 1, 1, 1] and [0.5, 0].
    assert found.weighted_win_rate == pytest.approx(100 * 4.5 / 6)
    assert (found.win_rate, found.n_missing) == (62.5, 1)
    write_annotations(tmp_path / "again.json", [strong, weak])
    assert read_annotations(tmp_path / "again.json") == [strong, weak]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([arena("a", "A>B")], "games must be two"),
        ([arena("a", "A>B", "A")], "expected a verdict .* got 'A'"),
        ([arena("a", "A>B", "A>B"), arena("a", "A>B", "A>B")], "'a' is there twice"),
    ],
)
def test_what_is_no_judgement_of_arena_hard_is_refused(
    tmp_path: Path, rows: Any, said: str
) -> None:
    with pytest.raises(BadData, match=said):
        read_annotations(saved(tmp_path / "mine.json", rows))


# Difficulties


def hard(tmp_path: Path, **columns: Any) -> Path:
    lines = [
        ",".join(columns),
        *(",".join(map(str, cells)) for cells in zip(*columns.values(), strict=True)),
    ]
    path = tmp_path / "difficulty.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_difficulties_are_found_by_id_or_text_and_by_place_only_if_all_are_there(
    tmp_path: Path,
) -> None:
    by_id = read_difficulties(hard(tmp_path, id="abc", instruction_difficulty=[1, 2, 3]))
    named = [Annotation(win=1.0, id=name) for name in "ca"]
    assert by_id.of(named) == [3, 1]
    with pytest.raises(BadData, match="no difficulty for the prompt 'x'"):
        by_id.of([*named, Annotation(win=1.0, id="x")])
    asked = [Annotation(win=1.0, instruction=f"ask {place}") for place in range(3)]
    assert by_id.of(asked) == [1, 2, 3]
    with pytest.raises(BadData, match="cannot be matched with 2 annotations"):
        by_id.of(asked[:2])
    by_text = read_difficulties(hard(tmp_path, instruction=["ask 1"], instruction_difficulty=[7]))
    assert by_text.of(asked[1:2]) == [7]


def test_a_prompt_has_one_difficulty(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="the prompt 'a' has another difficulty above"):
        read_difficulties(hard(tmp_path, id="aba", instruction_difficulty=[1, 2, 3]))


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="instruction_difficulty"):
        read_difficulties(hard(tmp_path, id=[1], hardness=[2]))
    with pytest.raises(BadData, match="std_delta_len"):
        read_regularizer(hard(tmp_path, id=[1], preference=[0.5]))
    row = {"std_delta_len": ["nan"], "instruction_difficulty": [1.0], "preference": [0.5]}
    with pytest.raises(BadData, match="its std_delta_len is empty"):
        read_regularizer(hard(tmp_path, **row))


# Answers


def test_outputs_are_those_that_alpaca_eval_and_we_read(tmp_path: Path) -> None:
    prompt = Prompt(id="a", messages=(Message("user", "ask"),))
    said = Response(prompt_id="a", text="yes", author="mine")
    write_outputs(tmp_path / "model_outputs.json", [(prompt, said)])
    (plain,) = json.loads((tmp_path / "model_outputs.json").read_text())
    assert plain == {"id": "a", "instruction": "ask", "output": "yes", "generator": "mine"}
    ((asked, answer),) = read_responses(tmp_path / "model_outputs.json")
    assert (asked.text, answer.text, answer.author) == ("ask", "yes", "mine")


def outputs(path: Path, said: dict[str, str], generator: str = "g") -> str:
    rows = [
        {"instruction": asked, "output": answer, "generator": generator}
        for asked, answer in said.items()
    ]
    return str(saved(path, rows))


def test_answers_are_matched_by_what_was_asked_in_any_order(tmp_path: Path) -> None:
    ours = outputs(tmp_path / "a.json", {"x": "1", "y": "2"}, "mine")
    theirs = outputs(tmp_path / "b.json", {"y ": "4", "x": "3"}, "base")
    found = matched(ours, theirs)
    assert [(one.model.text, one.baseline.text) for one in found] == [("1", "3"), ("2", "4")]


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ({"x": "1"}, {"x": "1", "y": "2"}, "a.json: no answer to 1 of the 2 prompts of .*b.json"),
        ({"x": "1", "y": "2"}, {"x": "1"}, "b.json: no answer to 1 of the 2 prompts of .*a.json"),
        ({"x": "1"}, {"y": "1"}, "no answer to 1 of the 1 prompts"),
        ({"x": " "}, {"x": "1"}, "the answer to .* is empty"),
        ({"x": "1", "x ": "2"}, {"x": "1"}, "'x' is there twice"),
    ],
)
def test_answers_to_other_prompts_are_refused(
    tmp_path: Path, ours: dict[str, str], theirs: dict[str, str], said: str
) -> None:
    with pytest.raises(BadData, match=said):
        matched(outputs(tmp_path / "a.json", ours), outputs(tmp_path / "b.json", theirs))
