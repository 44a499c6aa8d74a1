"""Preferences that people gave in Argilla, as `Dataset.records.to_json` writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from cpt.errors import NoPair

QUESTION = "preference"
PLACES = ("response_a", "response_b")
RECORD = ("fields", "metadata", "responses", "suggestions", "vectors", "_server_id", "status")
OF_LABEL = ("margin", "tier", "chosen_score", "rejected_score", "rationale")
"""What is true of our label alone."""


def argilla(values: dict[str, Any]) -> None:
    """The record as a pair: people's choice, or the suggestion where nobody chose.

    Where people turned a label around, its margin, tier and scores are not theirs. What nobody
    decided is a prompt, and stays a record for `refuse_undecided`.
    """
    if not _is_record(values):
        return
    fields = values["fields"]
    try:
        better, suggested, votes = _decision(values)
    except NoPair:
        values["prompt"] = fields["prompt"]
        return
    beside = values["metadata"] if isinstance(values.get("metadata"), Mapping) else {}
    if suggested in PLACES and better != suggested:
        beside = _turned(beside)
    for name in RECORD:
        values.pop(name, None)
    worse = PLACES[1 - PLACES.index(better)]
    sides = {"prompt": fields["prompt"], "chosen": fields[better], "rejected": fields[worse]}
    values.update({**beside, **sides, **({"annotators": votes} if votes else {})})


def refuse_undecided(values: Mapping[str, Any]) -> None:
    """Raises `NoPair` for a record in which people found a tie, are divided, or did not choose."""
    if _is_record(values):
        _decision(values)


def _is_record(values: Mapping[str, Any]) -> bool:
    fields = values.get("fields")
    return isinstance(fields, Mapping) and {"prompt", *PLACES} <= fields.keys()


def _decision(values: Mapping[str, Any]) -> tuple[str, Any, int]:
    """The better place, the suggested one, and how many people chose. Raises `NoPair`."""
    suggested = _suggested(values.get("suggestions"))
    votes = _votes(values.get("responses"))
    better = _winner(votes) if votes else suggested
    if better not in PLACES:
        raise NoPair("tie", "people found no difference" if votes else "nobody chose an answer")
    return better, suggested, sum(votes.values())


def _suggested(suggestions: Any) -> Any:
    found = suggestions.get(QUESTION) if isinstance(suggestions, Mapping) else None
    return found.get("value") if isinstance(found, Mapping) else None


def _votes(responses: Any) -> Counter[str]:
    """How many people chose what; drafts and discarded answers do not count."""
    given = responses.get(QUESTION) if isinstance(responses, Mapping) else None
    return Counter(
        str(one.get("value"))
        for one in (given if isinstance(given, list) else ())
        if isinstance(one, Mapping) and one.get("status", "submitted") in (None, "submitted")
    )


def _winner(votes: Counter[str]) -> str:
    first, *others = votes.most_common(2)
    if others and others[0][1] == first[1]:
        raise NoPair("divided", f"people are divided: {dict(votes)}")
    return first[0]


def _turned(beside: Mapping[str, Any]) -> dict[str, Any]:
    """Our columns where people chose the other side."""
    names = {"chosen": "rejected", "rejected": "chosen"}
    kept = {name: value for name, value in beside.items() if name not in OF_LABEL}
    return {
        f"{names[side]}_{rest}" if side in names else name: value
        for name, value in kept.items()
        for side, _, rest in [name.partition("_")]
    }
