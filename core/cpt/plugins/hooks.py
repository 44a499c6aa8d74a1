"""Whether a module has hooks, and whether they are spelt and marked as hooks must be."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from inspect import isfunction

import pluggy

from cpt import hookspecs

KNOWN = tuple(name for name in vars(hookspecs) if name.startswith("cpt_"))


def register(manager: pluggy.PluginManager, plugin: object, name: str) -> list[str]:
    """Register a plugin and return the names of its hooks, sorted.

    Raises `ValueError` for a hook that is unknown or not marked, and if there is none.
    """
    for function in _unmarked(manager, plugin):
        raise ValueError(f"{function} is not marked as a hook; write @cpt.hookimpl above it")
    manager.register(plugin, name)
    callers = manager.get_hookcallers(plugin) or []
    for caller in callers:
        if not caller.has_spec() and not _is_optional(caller, name):
            raise ValueError(f"unknown hook {caller.name!r}.{_nearest(caller.name)}")
    if not callers:
        raise ValueError(
            "it has no hooks; a hook is a function called cpt_..., marked with @cpt.hookimpl"
        )
    return sorted(caller.name for caller in callers)


def _unmarked(manager: pluggy.PluginManager, plugin: object) -> Iterator[str]:
    """Functions that are called like a hook, or nearly so, and are none."""
    for name, value in vars(plugin).items():
        like_a_hook = name.startswith("cpt_") and isfunction(value) and _close(name)
        if like_a_hook and manager.parse_hookimpl_opts(plugin, name) is None:
            yield name


def _is_optional(caller: pluggy.HookCaller, name: str) -> bool:
    own = [impl for impl in caller.get_hookimpls() if impl.plugin_name == name]
    return all(impl.optionalhook for impl in own)


def _close(name: str) -> list[str]:
    return get_close_matches(name, KNOWN, n=1, cutoff=0.8)


def _nearest(name: str) -> str:
    return "".join(f" Did you mean {known!r}?" for known in _close(name))
