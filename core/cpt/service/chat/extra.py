"""`extra_body`: what a server knows and its responder has no option for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

NOT_EXTRA = frozenset({"messages", "model", "n", "stream"})
"""What the responder writes itself, or could not read the answer to."""


def extra_body_field() -> Any:
    """A field `extra_body: Mapping[str, Any]` that is written into the body of every request."""
    return attrs.field(factory=dict, kw_only=True, hash=False, validator=_check)


def _check(responder: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"expected names and values, got {value!r:.60}")
    own = {option.name for option in attrs.fields(type(responder))}
    for name in sorted(value.keys() & own):
        raise ValueError(f"{name!r} has an option of its own; give it there")
    for name in sorted(value.keys() & NOT_EXTRA):
        raise ValueError(f"{name!r} is written by the responder itself; leave it out")
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"it must be JSON ({error})") from None
