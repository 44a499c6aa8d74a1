"""Whether the methods of a component can be called as the framework calls them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from inspect import Parameter, isasyncgenfunction, iscoroutinefunction, isfunction, signature
from typing import Any

from cpt.roles import Component

POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


def problem_of_methods(cls: type[Component]) -> str:
    """What is wrong with the first method that cannot take the place of its base's, or no text."""
    found = (_problem(name, mine, theirs) for name, mine, theirs in _overridden(cls))
    return next((problem for problem in found if problem), "")


def _overridden(cls: type[Component]) -> Iterator[tuple[str, Callable[..., Any], Any]]:
    """Name and function of each method of its own under a name of cpt's, and cpt's function."""
    for derived in cls.__mro__[: cls.__mro__.index(Component)]:
        if not derived.__module__.startswith("cpt."):
            for name, value in vars(derived).items():
                theirs = _of_cpt(name, cls)
                called = name == "__call__" or not name.startswith("__")
                if called and isfunction(value) and isfunction(theirs):
                    yield name, value, theirs


def _of_cpt(name: str, cls: type[Component]) -> Any:
    """What the nearest base class in cpt has under this name."""
    ours = (base for base in cls.__mro__ if base.__module__.startswith("cpt."))
    return next((vars(base)[name] for base in ours if name in vars(base)), None)


def _problem(name: str, mine: Callable[..., Any], theirs: Callable[..., Any]) -> str:
    if _is_async(mine) and not _is_async(theirs) and "AsyncIterator" not in _returned(theirs):
        return f"`{name}` must not be async: write `def {name}`"
    given = [one.name for one in signature(theirs).parameters.values() if one.kind in POSITIONAL]
    try:
        signature(mine).bind(*given)
    except TypeError:
        start = "async def" if _is_async(theirs) else "def"
        return (
            f"`{name}` is called with other arguments: write `{start} {name}({', '.join(given)})`"
        )
    return ""


def _is_async(function: Callable[..., Any]) -> bool:
    return iscoroutinefunction(function) or isasyncgenfunction(function)


def _returned(function: Callable[..., Any]) -> str:
    return str(function.__annotations__.get("return"))
