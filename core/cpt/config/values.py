"""Plain values as the type of an option says: what a file, a variable or a flag means by them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from math import isfinite, nan
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin

if TYPE_CHECKING:  # slow to import
    import cattrs


class Unparsed(str):
    """A text whose option may have any type: only that type says what the text means."""


def _boolean(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() in words:
        return words[str(value).lower()]
    raise ValueError(f"expected true or false, got {value!r}")


def _integer(value: Any) -> int:
    number = _number(value, "a whole number")
    if number % 1:
        raise ValueError(f"expected a whole number, got {value!r}")
    return int(number) if isinstance(value, str) and not value.isdigit() else int(value)


def _number(value: Any, what: str = "a number") -> float:
    try:
        number = nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = nan
    if not isfinite(number):
        raise ValueError(f"expected {what}, got {value!r}")
    return number


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected text, got {value!r}")
    return str(value)


def _one_of(_: cattrs.Converter, value: Any, kind: Any) -> Any:
    choices = get_args(kind)
    if value in choices:
        return value
    raise ValueError(f"expected one of {', '.join(map(str, choices))}, got {value!r}")


def mapping_of(value: Any) -> Mapping[str, Any]:
    """The value, if it is options by name. Raises `ValueError`."""
    if not isinstance(value, Mapping):
        raise ValueError(f"expected options by name, got {value!r}")
    return value


def _several(made: cattrs.Converter, value: Any, kind: Any) -> tuple[Any, ...]:
    """A tuple of any length; one value alone is a tuple of one, and no text is none."""
    inner = get_args(kind)[0]
    items = [item for item in (value if isinstance(value, list | tuple) else [value]) if item != ""]
    return tuple(made.structure(list(items), list[inner]))  # type: ignore[valid-type]


def _named(made: cattrs.Converter, value: Any, kind: Any) -> dict[str, Any]:
    """A mapping from names; JSON text is one too."""
    name, inner = get_args(kind)
    value = from_text(value) if isinstance(value, str) else value
    if inner is Any:
        return {str(key): _parsed(item) for key, item in mapping_of(value).items()}
    return made.structure(mapping_of(value), dict[name, inner])  # type: ignore[valid-type]


def _parsed(value: Any) -> Any:
    """A value of any kind, with what is not parsed yet, however deep, parsed."""
    if isinstance(value, Mapping):
        return {key: _parsed(inner) for key, inner in value.items()}
    return from_text(value) if isinstance(value, Unparsed) else value


def from_text(text: str) -> Any:
    """The value of a JSON text (`True` and `False` as well); other text is itself."""
    words = {"true": True, "false": False}
    try:
        return words[text.lower()] if text.lower() in words else json.loads(text)
    except (ValueError, RecursionError):
        return str(text)


def _either(made: cattrs.Converter, value: Any, kind: Any) -> Any:
    """The first member of a union that takes the value; no text is none."""
    members = [member for member in get_args(kind) if member is not NoneType]
    if value in (None, "") and len(members) < len(get_args(kind)):
        return None
    for member in members[:-1]:
        try:
            return made.structure(value, member)
        except Exception:  # the last member's complaint is the one shown
            continue
    return made.structure(value, members[-1])


PLAIN: Mapping[type, Callable[[Any], Any]] = {
    bool: _boolean,
    int: _integer,
    float: _number,
    str: _text,
}
"""For each plain type, what makes one of a value, or raises `ValueError`."""
GENERIC: Mapping[Any, Callable[[cattrs.Converter, Any, Any], Any]] = {
    Literal: _one_of,
    Mapping: _named,
    tuple: _several,
    Union: _either,
    UnionType: _either,
}
"""The same for types with other types inside: what converts those, the value and the type."""


def take_values(made: cattrs.Converter) -> None:
    """Let a converter read values by these tables."""
    for plain, read in PLAIN.items():
        made.register_structure_hook(plain, partial(_read, read))
    for generic, convert in GENERIC.items():
        made.register_structure_hook_func(partial(_is_generic, generic), partial(convert, made))


def _read(read: Callable[[Any], Any], value: Any, _: Any) -> Any:
    return read(value)


def _is_generic(generic: Any, kind: Any) -> bool:
    return get_origin(kind) is generic
