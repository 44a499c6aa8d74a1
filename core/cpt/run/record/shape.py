"""What `run.yaml` may hold: a record that a person or another tool changed is found here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

COMPONENTS = ("pairer", "scheduler", "loss", "generator", "responder")
"""Options that are a component, or None."""
GROUPS = ("train", "asking", "controls")
COUNTS = ("prompts", "pairs", "unfinished", "steps")
TABLES = ("dropped", "outcomes", "reasons", "incomplete")
"""Parts of a summary that are counts by name."""

Faults = Iterator[str]
Check = Callable[[str, Any], Faults]


def fault_of(record: Any) -> str:
    """The first thing that is wrong with a record, with its address; no text if nothing is."""
    return next(_fields("the record", record, RECORD, needed=("options", "stages")), "")


def _fields(
    address: str, value: Any, checks: Mapping[str, Check], needed: tuple[str, ...] = ()
) -> Faults:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        yield f"{address} must be values by name"
        return
    yield from (f"{address} has no {name}" for name in needed if name not in value)
    for name, inner in value.items():
        if name in checks:
            yield from checks[name](name if address == "the record" else f"{address}.{name}", inner)


def _every(check: Check) -> Check:
    """Each value of a mapping."""

    def check_all(address: str, value: Any) -> Faults:
        yield from _fields(address, value, {name: check for name in _names(value)})

    return check_all


def _names(value: Any) -> list[Any]:
    return list(value) if isinstance(value, Mapping) else []


def _text(address: str, value: Any) -> Faults:
    if not isinstance(value, str):
        yield f"{address} must be text"


def _number(address: str, value: Any) -> Faults:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield f"{address} must be a number"


def _count(address: str, value: Any) -> Faults:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        yield f"{address} must be a count"


def _seconds(address: str, value: Any) -> Faults:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        yield f"{address} must be seconds"


def _component(address: str, value: Any) -> Faults:
    if value is not None:
        yield from _fields(address, value, {"name": _text}, needed=("name",))


def _maybe_text(address: str, value: Any) -> Faults:
    if value is not None:
        yield from _text(address, value)


def _options(address: str, value: Any) -> Faults:
    checks = {
        **dict.fromkeys(COMPONENTS, _component),
        **dict.fromkeys(GROUPS, _every(_anything)),
        **dict.fromkeys(("prompts", "pairs", "model"), _maybe_text),
        "seed": _number,
    }
    yield from _fields(address, value, checks)


def _anything(address: str, value: Any) -> Faults:
    yield from ()


def _summary(address: str, value: Any) -> Faults:
    checks = {
        **dict.fromkeys(COUNTS, _count),
        **dict.fromkeys(TABLES, _every(_count)),
        "metrics": _every(_number),
    }
    yield from _fields(address, value, checks)


def _stage(address: str, value: Any) -> Faults:
    yield from _fields(address, value, STAGE, needed=("options",))


STAGE: Mapping[str, Check] = {
    "state": _text,
    "options": _options,
    "code": _every(_text),
    "content": _every(_text),
    "seconds": _seconds,
    "summary": _summary,
}
RECORD: Mapping[str, Check] = {
    "options": _options,
    "stages": _every(_stage),
    "versions": _every(_text),
}
