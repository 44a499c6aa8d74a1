"""What a judge wrote, as a score: read for certain, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpt_judges.reading import read_score, without_thoughts

READ = {
    "Score: 7": 7,
    "Clear.\n**Score:** 8.5": 8.5,
    "**Final Score: 9/10**": 9,
    "### score = [[4]]": 4,
    "`Score: 10 / 10`": 10,
    "Score: **8** / 10": 8,
    "Score: 8 out of 10": 8,
    "Score: 8 (out of 10)": 8,
    "Score: 8/10 (80%)": 8,
    "Score: 8 points": 8,
    "Score: 8 - good": 8,
    "Score: 8\n- 2 typos": 8,
    "Score: 8 (between 7 and 9)": 8,
    "Score: 7,5": 7.5,
    "Score\uff1a\uff17\uff0c\uff15\uff0f\uff11\uff10": 7.5,
    "My score: 8": 8,
    "Score given: 8": 8,
    "Score for this answer: 8": 8,
    "Overall Score (1-10): 8": 8,
    "Score out of 10: 8": 8,
    "Score on a scale from 1 to 10: 8": 8,
    "Helpfulness score: 8": 8,
    "Score is 8": 8,
    "The final score is 8.": 8,
    "My score is 8/10 because it is clear.": 8,
    "So, I'd give it a score of 8.": 8,
    "It is fine, so I give Score: 8": 8,
    "Rating: [[8]]": 8,
    "Score: 8\nGrade: B": 8,
    "Score: <8>": 8,
    'Score: "8"': 8,
    "Score: \\boxed{8}": 8,
    "The score is $\\boxed{8}$": 8,
    "Score - 8": 8,
    "Score -> 8": 8,
    "Score — 8": 8,
    "- Score: 8": 8,
    "1. **Score**: 8": 8,
    "> Score: 8": 8,
    "## Score\n\n8/10": 8,
    "Score:\n8": 8,
    '```json\n{"reason": "a score of 3? no", "score": 8}\n```': 8,
    '{"score": 8, "reason": "Clear. Score: 3 would be unfair."}': 8,
    'Here:\n```json\n{"Rating": "8/10", "why": "the score: 3 of five"}\n```': 8,
    '{"clarity_score": 3, "score": "8/10", "best": 10}': 8,
    "{'final_score': 7, 'x': 3}": 7,
    "<score>8</score>": 8,
    "<final_score>8/10</final_score>": 8,
    '<score value="8"/>': 8,
    "<score>8</score>\n<reasoning>Score: 3</reasoning>": 8,
    "| Score | 8 |": 8,
    "| Score | Reason |\n|:---:|---|\n| **8/10** | good |": 8,
    "| Criterion | Score |\n|---|---|\n| A | 8 |\n| B | 9 |\n\nScore: 7": 7,
    "Score: 3\nNo, better:\nScore: 6.": 6,
    "Clarity score: 7\nScore: 8": 8,
    "Score: 8\nClarity score: 7": 8,
    "Score: 7\nThe maximum score is 10.": 7,
    "Score: 7\nTo get a score of 10 it would need an example.": 7,
    "Score: 8\nScore justification: 10 points of substance": 8,
    "<think>Score: 3</think>Score: 8": 8,
    "<seed:think>Score: 3</seed:think>Score: 8": 8,
    "<|START_THINKING|>Score: 3<|END_THINKING|>Score: 8": 8,
    "Perhaps Score: 3</think>\nScore: 8": 8,
    "<|channel|>analysis<|message|>Score: 3<|end|><|channel|>final<|message|>Score: 8": 8,
}
REFUSED = (
    *("", "7", "I would score this 7.", "Score: eight", "Underscore: 8", "Scores: 8"),
    *("Score: 0", "Score: 11", "Score: -3", "Score -3", "Score: +8", "Score: ~8", "Score: >8"),
    *("Score: 4/5", "Score: 85/100", "Score: 8 out of 5", "Score: 80%", "Score: 8/10/10"),
    *("Score: 7-8", "Score: 7\u20138", "Score: 7 to 8", "Score: 7 or 8", "Score: (8) or 9"),
    *("Score: 8/10 or 9/10", "Score: 8, 9", "Score: 8 → 7", "Score: 8+", "Score: 8 ± 1"),
    *("Score: 8½", "Score: 8 1/2", "Score: 8.5.1", "Score: 7,500", "Score: 1e1", "Score: 8th"),
    *("Score: 3\nScore: I cannot say", "Score:\n1. Clear\n2. Right", "Maximum score: 10"),
    *("Clarity score: 7\nAccuracy score: 9", "I cannot give a score: 10", "Score is 8 if lenient"),
    *("| Score | 8 | 9 |", "| Part | Score |\n|---|---|\n| A | 8 |\n| B | 9 |"),
    *("<think>\nScore: 3\nbut it is in truth very good, so I", "Good <THINKING>Score: 9"),
    *("<think>a<think>b</think>Score: 3", "Score: 3</think>\nGood.", "[THINK]Score: 9"),
    *("<seed:think>Score: 9", "<|begin_of_thought|>Score: 9"),
    *("<|channel|>analysis<|message|>Score: 3", '{"score": null}', '{"score": {"value": 8}}'),
)


@pytest.mark.parametrize("text", READ)
def test_what_people_write_is_read(text: str) -> None:
    assert read_score(text, 10) == READ[text]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_certain_is_refused(text: str) -> None:
    assert read_score(text, 10) is None


def test_another_scale() -> None:
    assert read_score("Score: 4/5", 5) == 4
    assert read_score("Score: 85/100", 100) == 85
    assert read_score("Score: 4/10", 5) is None


FORMS = (
    "Score: {}",
    "**Final score:** {}/10",
    "- My score = {}.",
    '{{"why": "", "score": {}}}',
    "<score>{}</score>",
    "| Score | {} |",
    "The score is {}.",
    "Rating: [[{}]]",
)
tenths = st.integers(10, 100).map(lambda tenth: tenth / 10)
prose = st.lists(
    st.sampled_from(["It is clear.", "7 facts are right", "2 of 3 steps", "3-4 typos", "10/10?"])
).map("\n".join)


@given(score=tenths, form=st.sampled_from(FORMS), before=prose, comma=st.booleans())
def test_a_score_is_read_whatever_is_before_it(
    score: float, form: str, before: str, comma: bool
) -> None:
    number = f"{score:g}".replace(".", "," if comma else ".")
    assert read_score(f"{before}\n{form.format(number)}", 10) == score


@given(score=tenths, form=st.sampled_from(FORMS), thought=prose, other=tenths)
def test_a_thought_changes_nothing(score: float, form: str, thought: str, other: float) -> None:
    said = form.format(f"{score:g}")
    inside = f"{thought}\n{form.format(f'{other:g}')}"
    assert read_score(f"<think>{inside}</think>\n{said}", 10) == score
    assert read_score(f"{inside}</think>\n{said}", 10) == score
    assert read_score(f"<think>{inside}", 10) is None
    assert read_score(f"<think>{inside}</think>", 10) is None


@given(low=st.integers(1, 9), form=st.sampled_from(FORMS), dash=st.sampled_from("-\u2013—~"))
def test_a_range_is_no_score(low: int, form: str, dash: str) -> None:
    assert read_score(form.format(f"{low}{dash}{low + 1}"), 10) is None


pieces = st.lists(st.sampled_from([*":=|/<>[](){}\"'012789.,-\n*_#\\ ", "score", "Score", "is"]))
thoughts = st.lists(st.sampled_from(["<think>", "</think>", "a", "\n"]))


@given(pieces.map("".join))
def test_whatever_is_written_is_on_the_scale_or_nothing(text: str) -> None:
    score = read_score(text, 10)
    assert score is None or 1 <= score <= 10


@given(thoughts.map("".join))
def test_no_thought_is_left(text: str) -> None:
    assert "think>" not in without_thoughts(text)


LONG = ("Score " * 2000, "<think>" * 9000, "| " * 9000, "Score: " + "(" * 9000)


@pytest.mark.parametrize("text", LONG)
def test_long_texts_are_no_trap(text: str) -> None:
    assert read_score(text, 10) is None
