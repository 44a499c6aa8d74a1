"""Published preferences and own ones: the answers of a row, and how good each was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import attrs

import cpt
from cpt_scored.selecting import Scored

if TYPE_CHECKING:
    from cpt.data import Row

TEXTS = ("response", "output", "text", "completion")
AUTHORS = ("author", "model", "generator")
SCORES = ("score", "rating", "helpfulness", "overall_score")
WINNERS = ("winner", "winner_model_a", "winner_model_b", "winner_tie")
EXPECTED = (
    "chosen and rejected, completions (UltraFeedback), answers (Nectar), human_ref_A (SHP), "
    "better_response_id (PKU-SafeRLHF), winner (Chatbot Arena), choice (summarize_from_feedback), "
    "score_0 (WebGPT), answer1_body (JudgeLM), overall_preference or preference_strength "
    "(HelpSteer), preference (AlpacaEval), responses with scores, or a response with a score"
)


@attrs.frozen
class Found:
    """What a row says of its answers."""

    layout: str
    scored: tuple[Scored, ...]
    voted: bool = False
    """The scores say only which was preferred, and how clearly."""


def found_in(row: Row, criterion: str) -> Found | None:
    """The scored answers of a row, by the first layout that it has; None if it has none.

    Raises `BadData`, and `NoPair` for conversations that part before their last answer.
    """
    for name, layout in LAYOUTS.items():
        if (found := layout(row, criterion)) is not None:
            scored, voted = found
            return Found(name, tuple(one for one in scored if one is not None), voted)
    return None


Layout = Callable[["Row", str], "tuple[Sequence[Scored | None], bool] | None"]


def _ultrafeedback(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """`completions` with `response`, `model`, `overall_score` and ratings by aspect."""
    if row["completions"] is None:
        return None
    return [
        _scored(row, one.get("response"), one.get("model"), _rated(one, criterion))
        for one in _mappings(row, "completions")
    ], False


def _rated(one: Mapping[str, Any], criterion: str) -> Any:
    """A score of a completion, or its rating in an aspect."""
    aspects = one.get("annotations")
    aspect = aspects.get(criterion) if isinstance(aspects, Mapping) else None
    if isinstance(aspect, Mapping):
        return aspect.get("Rating")
    return one.get(criterion or "overall_score")


def _nectar(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """`answers` with `answer`, `model` and `rank`: the score is the rank below 0."""
    if row["answers"] is None:
        return None
    ranked = _mappings(row, "answers")
    return [
        _scored(row, one.get("answer"), one.get("model"), one.get("rank"), -1.0) for one in ranked
    ], False


def _shp(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """Two comments with their votes; `labels` is 1 where the first is preferred."""
    if row["human_ref_A"] is None:
        return None
    texts = row["human_ref_A"], row["human_ref_B"]
    first = row.number_of("labels")
    scores = row.number_of("score_A"), row.number_of("score_B")
    if None in scores or (first is not None and (scores[0] > scores[1]) != bool(first)):  # type: ignore[operator]
        return _two(row, texts, ("", ""), first), True
    return [_scored(row, text, "", score) for text, score in zip(texts, scores, strict=True)], False


def _pku(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """Two responses, and which is better, or by the criterion `safer` which is safer."""
    better = row.number_of(f"{criterion or 'better'}_response_id")
    if better is None or row["response_0"] is None:
        return None
    authors = [row[f"response_{place}_source"] for place in range(2)]
    first = None if better < 0 else 1 - better
    return _two(row, (row["response_0"], row["response_1"]), authors, first), True


def _arena(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """Two conversations and the `winner`: model_a, model_b or a tie."""
    if row["conversation_a"] is None or row.first(*WINNERS) is None:
        return None
    from cpt.data import pair_of

    pair = pair_of({"chosen": row["conversation_a"], "rejected": row["conversation_b"]}, row.where)
    texts = pair.chosen.text, pair.rejected.text
    return _two(row, texts, (row["model_a"], row["model_b"]), _won(row)), True


def _won(row: Row) -> float | None:
    """1 if the first won, 0 if the second did, None for a tie. Raises `BadData`."""
    for first, side in ((1.0, "model_a"), (0.0, "model_b")):
        if row["winner"] == side or row.number_of(f"winner_{side}") == 1:
            return first
    if row["winner"] is None or "tie" in str(row["winner"]) or row["winner"] == "both_bad":
        return None
    raise row.bad(f"winner is {row['winner']!r:.60}; expected model_a, model_b or tie")


def _rewardbench(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """RewardBench 2: `chosen` and `rejected` are lists of texts, of the `models` in that order."""
    sides = row["chosen"], row["rejected"]
    if not all(is_texts(side) for side in sides):
        return None
    votes = [(text, vote) for vote, side in zip((1, 0), sides, strict=True) for text in side]
    models = row["models"]
    known = isinstance(models, list) and len(models) == len(votes)
    authors = models if known else [""] * len(votes)
    return [
        _scored(row, text, author, vote)
        for author, (text, vote) in zip(authors, votes, strict=True)
    ], True


def is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _summaries(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """summarize_from_feedback: two `summaries` with `text` and `policy`, and the `choice`."""
    choice = row.number_of("choice") if row["summaries"] is not None else None
    if choice is None:
        return None
    both = _mappings(row, "summaries")
    if len(both) != 2 or choice not in (0, 1):
        raise row.bad(f"expected two summaries and the choice 0 or 1, got {len(both)}, {choice:g}")
    texts, authors = ([one.get(name) for one in both] for name in ("text", "policy"))
    return _two(row, texts, authors, 1 - choice), True


def _webgpt(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """WebGPT: two answers; their scores are the strength of the preference, from -1 to 1."""
    texts = row["answer_0"], row["answer_1"]
    scores = row["score_0"], row["score_1"]
    if None in (*texts, *scores):
        return None
    both = zip(texts, scores, strict=True)
    return [_scored(row, text, "", score, 0.5) for text, score in both], True


def _judgelm(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """JudgeLM: two answers, and a list of two scores, each a number or an object with `score`."""
    texts, scores = (row["answer1_body"], row["answer2_body"]), row["score"]
    if None in texts or not isinstance(scores, list) or len(scores) != 2:
        return None
    numbers = [one.get("score") if isinstance(one, Mapping) else one for one in scores]
    authors = row["answer1_model_id"], row["answer2_model_id"]
    each = zip(texts, authors, numbers, strict=True)
    return [_scored(row, text, author, number) for text, author, number in each], False


def _helpsteer(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """Two responses and a preference from -3 (the first is much better) to 3."""
    strength = row.number_of("overall_preference", "preference_strength")
    texts = row.first("response1", "response_1"), row.first("response2", "response_2")
    if strength is None or None in texts:
        return None
    halves = -strength / 2, strength / 2
    return [_scored(row, text, "", half) for text, half in zip(texts, halves, strict=True)], True


def _alpaca(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """AlpacaEval's and AlpacaFarm's annotations: from 1 (the first) to 2, 0 for a tie."""
    if None in (row["output_1"], row["output_2"], row["preference"]):
        return None
    preference = row.number_of("preference")
    if preference is None:
        return None
    if preference != 0 and not 1 <= preference <= 2:
        raise row.bad(f"preference is {preference:g}, which is not from 1 to 2")
    texts = row["output_1"], row["output_2"]
    authors = row["generator_1"], row["generator_2"]
    return _two(row, texts, authors, 2 - preference if preference else None), True


def _by_author(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """`responses` and `scores`, both by author."""
    texts, scores = row["responses"], row[criterion or "scores"]
    if not isinstance(texts, Mapping) or not isinstance(scores, Mapping):
        return None
    return [_scored(row, text, who, scores.get(who)) for who, text in texts.items()], False


def _generations(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """distilabel's `generations` and `ratings`, in one order."""
    texts, ratings = row["generations"], row[criterion or "ratings"]
    if not isinstance(texts, list) or not isinstance(ratings, list):
        return None
    if len(texts) != len(ratings):
        raise row.bad(f"{len(texts)} generations, but {len(ratings)} ratings")
    models = row.first("generation_models", "model_names")
    authors = chain(models if isinstance(models, list) else (), repeat(""))
    each = zip(texts, authors, ratings, strict=False)
    return [_scored(row, text, author, rating) for text, author, rating in each], False


def _one(row: Row, criterion: str) -> tuple[Sequence[Scored | None], bool] | None:
    """One answer with a score: HelpSteer2's ratings, or own ones."""
    score = row[criterion] if criterion else row.first(*SCORES)
    text = row.first(*TEXTS)
    if score is None or text is None:
        return None
    return [_scored(row, text, row.first(*AUTHORS), score)], False


LAYOUTS: Mapping[str, Layout] = {
    "ultrafeedback": _ultrafeedback,
    "nectar": _nectar,
    "shp": _shp,
    "pku_saferlhf": _pku,
    "arena": _arena,
    "rewardbench_2": _rewardbench,
    "summaries": _summaries,
    "webgpt": _webgpt,
    "judgelm": _judgelm,
    "helpsteer": _helpsteer,
    "alpaca_eval": _alpaca,
    "by_author": _by_author,
    "distilabel": _generations,
    "one_answer": _one,
}


def _two(
    row: Row, texts: Sequence[Any], authors: Sequence[Any], first: float | None
) -> Sequence[Scored | None]:
    """Two answers of which the first won (1), the second won (0), or none did (None)."""
    votes = (0.5, 0.5) if first is None else (first, 1 - first)
    return [_scored(row, *one) for one in zip(texts, authors, votes, strict=True)]


def _scored(row: Row, text: Any, author: Any, score: Any, factor: float = 1.0) -> Scored | None:
    """An answer with its score; None if either is not there. Raises `BadData`."""
    if text is None or score in (None, "", "N/A"):
        return None
    if not isinstance(text, str):
        raise row.bad(f"expected an answer as text, got {text!r:.60}")
    number = attrs.evolve(row, values={"score": score}).number_of("score")
    if number is None:
        return None
    answer = cpt.Response(prompt_id="", text=text, author=str(author or ""))
    return Scored(answer, factor * number)


def _mappings(row: Row, column: str) -> Sequence[Mapping[str, Any]]:
    found = row[column]
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise row.bad(f"{column}: expected a list of objects, got {found!r:.60}")
    return found
