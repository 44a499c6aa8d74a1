"""Pairs in the layouts of tools in which people compare answers: Argilla and Potato.

Which answer stands first is drawn from the pair's id, so that nobody learns where the better one
is. What Argilla exports is read again as pairs: see `cpt.data.layouts.annotated`.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

from cpt.data.layouts.annotated import PLACES, QUESTION
from cpt.data.layouts.messages import with_thought
from cpt.data.pairs import row_of
from cpt.errors import NoPair
from cpt.types import Message, Pair

Plain = dict[str, Any]
BESIDE = (
    *("prompt_id", "pairer", "tier", "margin", "chosen_author", "rejected_author", "weight"),
    *("rationale", "info", "prompt_info", "chosen_info", "rejected_info"),
)
"""Our columns that go along, as numbers and texts."""


def argilla_row(pair: Pair) -> Plain:
    """A record as `Dataset.records.from_json` reads it, with our label as a suggestion.

    The data set needs a chat field `prompt`, text fields `response_a` and `response_b`, and a label
    question `preference` of `response_a`, `response_b` and `tie`.
    """
    answers, better = _placed(pair, "argilla")
    agent = str(pair.info.get("judge") or pair.pairer or "") or None
    return {
        "id": pair.id,
        "fields": {
            "prompt": [{"role": turn.role, "content": turn.content} for turn in _asked(pair)],
            **dict(zip(PLACES, answers, strict=True)),
        },
        "metadata": _beside(pair),
        "suggestions": {QUESTION: {"value": PLACES[better], "score": None, "agent": agent}},
        "responses": {},
        "vectors": {},
    }


def potato_row(pair: Pair) -> Plain:
    """An item for a scheme `pairwise` with `items_key: responses`; `label` is ours, A or B."""
    answers, better = _placed(pair, "potato")
    asked = _asked(pair)
    one = len(asked) == 1 and asked[0].role == "user"
    text = asked[0].content if one else "\n\n".join(f"{t.role}: {t.content}" for t in asked)
    label = {"label": "AB"[better]}
    return {"id": pair.id, "text": text, "responses": answers, **label, **_beside(pair)}


def _placed(pair: Pair, tool: str) -> tuple[list[str], int]:
    """Both answers, and which of them is the chosen one."""
    turns = (*pair.prompt.messages, pair.chosen.message, pair.rejected.message)
    if pair.prompt.tools or any(turn.tool_calls for turn in turns):
        raise NoPair("layout", f"there are tools or calls of them, which {tool} lacks")
    answers = [with_thought(side.message).content for side in (pair.chosen, pair.rejected)]
    better = blake2b(pair.id.encode(), digest_size=1).digest()[0] % 2
    return answers[::-1] if better else answers, better


def _asked(pair: Pair) -> list[Message]:
    return [with_thought(turn) for turn in pair.prompt.messages]


def _beside(pair: Pair) -> Plain:
    row = row_of(pair)
    scores = {f"{side}_score": score for side, score in row["scores"].items()}
    known = {name: row[name] for name in BESIDE} | scores
    return {name: value for name, value in known.items() if value not in (None, "")}
