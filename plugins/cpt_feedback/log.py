"""What a row of an application's log says of the answer that was shown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

import cpt

if TYPE_CHECKING:
    from cpt.data import Row

TEXTS = ("response", "output", "text", "completion")
AUTHORS = ("author", "model", "generator")
UP = ("up", "thumbs_up", "like", "good", "1", "1.0", "true")
DOWN = ("down", "thumbs_down", "dislike", "bad", "-1", "-1.0", "0", "0.0", "false")


@attrs.frozen
class Shown:
    """An answer that was shown, and what its user did with it."""

    answer: cpt.Response
    edited: cpt.Response | None
    regenerated: cpt.Response | None
    thumbs: int
    """1 for up, -1 for down, 0 for neither."""


def shown_in(row: Row) -> Shown:
    """What a row says. Raises `BadData`."""
    author = str(row.first(*AUTHORS) or "")
    answer = _text(row, *TEXTS)
    if answer is None:
        expected = "expected a column response, and edited, rating or regenerated"
        raise row.bad(f"no answer: {expected}; found {', '.join(row.values) or 'none'}")
    edited, regenerated = _text(row, "edited"), _text(row, "regenerated")
    return Shown(
        answer=_response(author, answer),
        edited=_response(str(row["editor"] or "user"), edited) if edited else None,
        regenerated=_response(author, regenerated) if regenerated else None,
        thumbs=_thumbs(row),
    )


def votes_of(shown: Sequence[Shown]) -> Mapping[str, int]:
    """Thumbs up less thumbs down of every answer's text."""
    votes: Counter[str] = Counter()
    for one in shown:
        votes[one.answer.text] += one.thumbs
    return votes


def _text(row: Row, *columns: str) -> str | None:
    text = row.first(*columns)
    if text is not None and not isinstance(text, str):
        raise row.bad(f"{columns[0]}: expected text, got {text!r:.60}")
    return text


def _response(author: str, text: str) -> cpt.Response:
    return cpt.Response(prompt_id="", text=text, author=author)


def _thumbs(row: Row) -> int:
    """The rating of a row. Raises `BadData`."""
    given = row["rating"]
    word = str(given).strip().lower()
    if given is None or word in UP + DOWN:
        return 0 if given is None else 1 if word in UP else -1
    raise row.bad(f"rating is {given!r:.60}; expected up or down (or 1 or -1, true or false)")
