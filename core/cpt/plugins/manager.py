"""Find, load and describe plugins."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from functools import cache, partial
from importlib import import_module
from importlib.metadata import Distribution, EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click
import pluggy

from cpt import hookspecs
from cpt.errors import CptError, printable
from cpt.plugins.hooks import register
from cpt.plugins.offers import CHECKS, Deferred, Offers, checked

GROUP = "cpt"


@attrs.define
class Plugin:
    """One plugin as the user sees it in `cpt plugins`, whether or not it loaded."""

    name: str
    place: str
    """The module or file that it is in."""
    distribution: Distribution | None = None
    """What was installed with it."""
    seconds: float = 0.0
    """Time that its import took."""
    hooks: list[str] = attrs.field(factory=list)
    offered: dict[str, dict[str, Any]] = attrs.field(factory=dict)
    """What each of its hooks that offer things returned, by name."""
    error: BaseException | None = None
    """Why it is broken."""
    asked: bool = False
    """Named by the user, with `-p` or in `CPT_PLUGINS`; else found as installed."""
    blocked: bool = False
    """Left out with `-p no:NAME`."""

    @property
    def source(self) -> str:
        """The distribution, module or file that it comes from."""
        return _label(self.distribution)[0] if self.distribution else self.place

    @property
    def version(self) -> str:
        """That of its distribution, or no text."""
        return _label(self.distribution)[1] if self.distribution else ""

    @property
    def why(self) -> str:
        """Its error in one line."""
        return " ".join(f"{type(self.error).__name__}: {self.error}".split())

    @property
    def status(self) -> str:
        """`loaded`, `broken` or `blocked`."""
        return "blocked" if self.blocked else "broken" if self.error else "loaded"


@attrs.define
class Plugins:
    """The loaded plugins, those that are broken or blocked, and the hooks to call them through."""

    manager: pluggy.PluginManager
    found: dict[str, Plugin] = attrs.field(factory=dict)

    @property
    def broken(self) -> list[Plugin]:
        return [plugin for plugin in self.found.values() if plugin.error]

    @property
    def blocked(self) -> list[str]:
        """The names of those that were left out."""
        return [plugin.name for plugin in self.found.values() if plugin.blocked]

    def offers(self, hook: str, kind: str) -> Offers[Any]:
        """What all plugins offer through one hook; an error calls one of these a `kind`."""
        by_name: dict[str, dict[str, Any]] = {}
        for plugin in self.found.values():
            if plugin.status == "loaded":
                for name, thing in plugin.offered.get(hook, {}).items():
                    by_name.setdefault(name, {})[plugin.name] = thing
        return Offers(kind, by_name)

    def add(self, plugin: Plugin, load: Callable[[], object]) -> None:
        """Load one plugin and ask what it offers; a failure is recorded, never raised.

        A module that is loaded already is not loaded twice. What it prints goes to standard error.
        """
        if first := self.found.get(plugin.name):
            self._add_again(plugin, first)
            return
        self.found[plugin.name] = plugin
        began = time.perf_counter()
        try:
            with redirect_stdout(sys.stderr):
                module = load()
                plugin.seconds = time.perf_counter() - began
                if first_name := self.manager.get_name(module):
                    del self.found[plugin.name]
                    self.found[first_name].asked = True
                    return
                plugin.hooks = register(self.manager, module, plugin.name)
                plugin.offered = {
                    hook: checked(hook, self._call(plugin, hook))
                    for hook in plugin.hooks
                    if hook in CHECKS
                }
        except (Exception, SystemExit) as error:
            self.manager.unregister(name=plugin.name)
            plugin.error = error

    def load_all(self) -> None:
        """Import every component that a plugin deferred; a plugin with a wrong one is broken."""
        for plugin in self.found.values():
            try:
                with redirect_stdout(sys.stderr):
                    for thing in _deferred(plugin):
                        thing.load()
            except (Exception, SystemExit) as error:
                plugin.error = error

    def _add_again(self, plugin: Plugin, first: Plugin) -> None:
        """What a second plugin of one name becomes: the same again, left out too, or broken."""
        if first.blocked or plugin.place in (first.place, first.name):
            first.asked = first.asked or not first.blocked
            return
        plugin.error = ValueError(f"the name {plugin.name!r} is taken by {first.source}")
        self.found[f"{plugin.name} ({plugin.source})"] = plugin

    def _call(self, plugin: Plugin, hook: str) -> Any:
        """What one plugin returns from a hook. Raises whatever it raises."""
        others = [module for name, module in self.manager.list_name_plugin() if name != plugin.name]
        results = self.manager.subset_hook_caller(hook, others)()
        return results[0] if results else None


def _deferred(plugin: Plugin) -> Iterator[Deferred]:
    things = (thing for offered in plugin.offered.values() for thing in offered.values())
    return (thing for thing in things if isinstance(thing, Deferred))


def load_plugins(extra: Iterable[str] = ()) -> Plugins:
    """Load installed plugins, then `extra` ones: a module, a `FILE.py`, or `no:NAME` to block.

    `CPT_PLUGINS` holds more of the same, comma-separated; `CPT_TRACE=1` prints every hook call.
    """
    plugins = Plugins(pluggy.PluginManager("cpt"))
    plugins.manager.add_hookspecs(hookspecs)
    if os.environ.get("CPT_TRACE", "0") not in ("", "0"):
        plugins.manager.add_hookcall_monitoring(_trace_before, _trace_after)
    wanted = [*filter(None, os.environ.get("CPT_PLUGINS", "").split(",")), *extra]
    blocked = {name.removeprefix("no:") for name in wanted if name.startswith("no:")}
    for plugin, load in [*_installed(), *_named(wanted)]:
        if plugin.name in blocked:
            plugins.found.setdefault(plugin.name, attrs.evolve(plugin, blocked=True))
        else:
            plugins.add(plugin, load)
    if unknown := sorted(blocked - plugins.found.keys()):
        there = ", ".join(plugins.found)
        raise CptError(f"no:{unknown[0]}: no plugin has this name. There are: {there}.")
    return plugins


def _installed() -> Iterator[tuple[Plugin, Callable[[], object]]]:
    """Each installed plugin with the function that loads it."""
    for point in _unique(entry_points(group=GROUP)):
        yield Plugin(point.name, point.value, point.dist), point.load


def _named(names: Iterable[str]) -> Iterator[tuple[Plugin, Callable[[], object]]]:
    """Each plugin that the user named: `FILE.py` is called FILE, a module by its whole name."""
    for name in names:
        if not name.startswith("no:"):
            called = Path(name).stem if name.endswith(".py") else name
            yield Plugin(called, name, asked=True), partial(_import, name)


@cache
def _label(distribution: Distribution) -> tuple[str, str]:
    """The name and the version of a distribution, whose metadata is slow to read."""
    return distribution.name, distribution.version


def _unique(points: Iterable[EntryPoint]) -> Iterator[EntryPoint]:
    """Sorted by name, and each (name, value) once: editable installs can list it twice."""
    seen: set[tuple[str, str]] = set()
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        if (point.name, point.value) not in seen:
            seen.add((point.name, point.value))
            yield point


def _import(name: str) -> ModuleType:
    """Import a module by its dotted name, or a single file by its path."""
    if not name.endswith(".py"):
        return import_module(name)
    path = Path(name)
    spec = spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"cannot read {name}")
    module = module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def _trace_before(hook: str, implementations: Sequence[Any], arguments: Mapping[str, Any]) -> None:
    names = ", ".join(called.plugin_name for called in implementations) or "no plugin"
    click.echo(printable(f"{hook}({', '.join(arguments)}) -> {names}"), err=True)


def _trace_after(
    outcome: pluggy.Result[Any],
    hook: str,
    implementations: Sequence[Any],
    arguments: Mapping[str, Any],
) -> None:
    result = outcome.exception or outcome.get_result()
    click.echo(printable(f"{hook} = {result!r}"), err=True)
