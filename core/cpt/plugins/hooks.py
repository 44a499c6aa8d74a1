"""Whether a plugin has hooks, and whether they are spelt, marked and called as hooks must be."""

from __future__ import annotations

from difflib import get_close_matches
from inspect import iscoroutinefunction, isfunction
from types import FunctionType

import pluggy

from cpt import hookspecs

KNOWN = {name: function for name, function in vars(hookspecs).items() if name.startswith("cpt_")}
EVENTS = {name for name, function in KNOWN.items() if function.__annotations__["return"] == "None"}
"""The hooks that observe; all others offer something."""
MARK = "cpt_impl"
"""The attribute that `@cpt.hookimpl` sets."""


def register(manager: pluggy.PluginManager, plugin: object, name: str) -> list[str]:
    """Register a plugin and return the names of its hooks, sorted.

    Raises what `check_hooks` raises.
    """
    check_hooks(plugin)
    manager.register(plugin, name)
    return sorted(caller.name for caller in manager.get_hookcallers(plugin) or ())


def check_hooks(plugin: object) -> None:
    """Raise `ValueError` for a hook that is unknown or not marked, and if there is none.

    `plugin` is a module, or a class whose methods are hooks.
    """
    functions = {name: value for name, value in _members(plugin).items() if isfunction(value)}
    marked = {name: function for name, function in functions.items() if hasattr(function, MARK)}
    for name in functions.keys() - marked.keys():
        if name.startswith("cpt_") and _close(name):
            raise ValueError(f"{name} is not marked as a hook; write @cpt.hookimpl above it")
    for name, function in marked.items():
        options = getattr(function, MARK)
        if not options["optionalhook"]:
            _check_hook(options["specname"] or name, _arguments(function))
        if iscoroutinefunction(function):
            raise ValueError(f"{name} is `async`, and nobody awaits it; write `def {name}`")
    if not marked:
        raise ValueError(
            "it has no hooks; a hook is a function called cpt_..., marked with @cpt.hookimpl"
        )


def check_events(observer: type) -> None:
    """Raise `ValueError` for what `check_hooks` finds in an observer, and if a hook only offers."""
    check_hooks(observer)
    for name, method in _members(observer).items():
        hook = getattr(method, MARK, {"specname": None})["specname"] or name
        if hasattr(method, MARK) and hook in KNOWN.keys() - EVENTS:
            raise ValueError(f"{hook} observes nothing; write it as a function of the plugin")


def _members(plugin: object) -> dict[str, object]:
    """What a module has, or a class and those it inherits from."""
    owners = reversed(getattr(plugin, "__mro__", (plugin,)))
    return {name: value for owner in owners for name, value in vars(owner).items()}


def _check_hook(name: str, arguments: tuple[str, ...]) -> None:
    if name not in KNOWN:
        raise ValueError(f"unknown hook {name!r}.{_nearest(name)}")
    there = KNOWN[name].__code__.co_varnames
    unknown = [argument for argument in arguments if argument not in (*there, "self")]
    if unknown:
        known = f"There are: {', '.join(there)}." if there else "It takes none."
        raise ValueError(f"{name} has no argument {unknown[0]!r}. {known}")


def _arguments(function: FunctionType) -> tuple[str, ...]:
    """Those without a default, which pluggy fills in."""
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    return names[: len(names) - len(function.__defaults__ or ())]


def _close(name: str) -> list[str]:
    return get_close_matches(name, KNOWN, n=1, cutoff=0.8)


def _nearest(name: str) -> str:
    return "".join(f" Did you mean {known!r}?" for known in _close(name))
