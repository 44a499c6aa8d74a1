"""Forms of an answer beside free text: the log-probabilities of its tokens, JSON of a schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import attrs
from attrs.validators import and_, ge, le, optional

MOST_LOGPROBS = 20
"""Tokens that OpenAI gives the log-probabilities of, at one place."""
SCHEMA = "answer"
"""What a schema is called on the wire, where it has to have a name."""


def top_logprobs_field() -> Any:
    """A field `top_logprobs: int | None`, of a responder whose service gives log-probabilities."""
    within = optional(and_(ge(1), le(MOST_LOGPROBS)))
    return attrs.field(default=None, validator=within, kw_only=True)


def json_schema_field() -> Any:
    """A field `json_schema: Mapping[str, Any]`, of a responder whose service answers in JSON."""
    return attrs.field(factory=dict, kw_only=True, hash=False, validator=_is_a_schema)


def _is_a_schema(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected a JSON schema, got {value!r:.60}")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it must be JSON ({error})") from None


def chat_forms(top_logprobs: int | None, json_schema: Mapping[str, Any]) -> dict[str, Any]:
    """What a chat completion is asked with for these forms; nothing for free text."""
    asked: dict[str, Any] = {}
    if top_logprobs:
        asked |= {"logprobs": True, "top_logprobs": top_logprobs}
    if json_schema:
        form = {"name": SCHEMA, "schema": json_schema, "strict": True}
        asked |= {"response_format": {"type": "json_schema", "json_schema": form}}
    return asked


def read_top_logprobs(logprobs: Any) -> list[list[tuple[str, float]]]:
    """The likeliest tokens at each place, of the `logprobs` in a choice; empty if there are none.

    What cannot be read is left out.
    """
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    places = content if isinstance(content, list) else []
    return [_tokens(place) for place in places if isinstance(place, Mapping)]


def _tokens(place: Mapping[str, Any]) -> list[tuple[str, float]]:
    found = place.get("top_logprobs")
    tokens = [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []
    return [
        (token["token"], float(token["logprob"]))
        for token in tokens
        if isinstance(token.get("token"), str) and _is_logprob(token.get("logprob"))
    ]


def _is_logprob(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and isfinite(value)
