"""Find, load and describe plugins."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import click
import pluggy

from cpt import hookspecs
from cpt.errors import CptError

GROUP = "cpt"


@attrs.define
class Plugin:
    """One plugin as the user sees it in `cpt plugins`, whether or not it loaded."""

    name: str
    source: str
    """The distribution, module or file that it comes from."""
    version: str = ""
    seconds: float = 0.0
    """Time that its import took."""
    hooks: list[str] = attrs.field(factory=list)
    error: BaseException | None = None
    """Why it did not load."""
    asked: bool = False
    """Named by the user, with `-p` or in `CPT_PLUGINS`; else found as installed."""
    blocked: bool = False
    """Left out with `-p no:NAME`."""

    @property
    def why(self) -> str:
        """Its error in one line."""
        return " ".join(f"{type(self.error).__name__}: {self.error}".split())

    @property
    def state(self) -> str:
        return "blocked" if self.blocked else "broken" if self.error else "loaded"


@attrs.define
class Plugins:
    """The loaded plugins, those that failed, and the hooks to call them through."""

    manager: pluggy.PluginManager
    found: dict[str, Plugin] = attrs.field(factory=dict)

    @property
    def broken(self) -> list[Plugin]:
        return [plugin for plugin in self.found.values() if plugin.error]

    def add(self, plugin: Plugin, load: Callable[[], object]) -> None:
        """Load one plugin; a failure is recorded, never raised."""
        if first := self.found.get(plugin.name):
            plugin.error = ValueError(f"the name {plugin.name!r} is taken by {first.source}")
            self.found[f"{plugin.name} ({plugin.source})"] = plugin
            return
        self.found[plugin.name] = plugin
        began = time.perf_counter()
        try:
            module = load()
            self.manager.register(module, plugin.name)
            self.manager.check_pending()
            plugin.hooks = sorted(hook.name for hook in self.manager.get_hookcallers(module) or ())
        except (Exception, SystemExit) as error:
            self.drop(plugin, error)
        plugin.seconds = time.perf_counter() - began

    def drop(self, plugin: Plugin, error: BaseException) -> None:
        """Leave out a plugin that does not do what it should; it stays in the list."""
        self.manager.unregister(name=plugin.name)
        plugin.error = error

    def offered(self, plugin: Plugin, hook: str) -> list[Any]:
        """What one plugin returns from a hook that offers things. Raises whatever it raises."""
        if hook not in plugin.hooks:
            return []
        others = [module for name, module in self.manager.list_name_plugin() if name != plugin.name]
        results = self.manager.subset_hook_caller(hook, others)()
        made = results[0] if results else None
        if not isinstance(made, Sequence) or isinstance(made, str):
            raise TypeError(f"{hook} must return a list, got {made!r}")
        return list(made)


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
    for point in _unique(entry_points(group=GROUP)):
        plugin = _described(point)
        if point.name in blocked:
            plugin.blocked = True
            plugins.found[point.name] = plugin
        else:
            plugins.add(plugin, point.load)
    for name in wanted:
        if not name.startswith("no:"):
            plugins.add(Plugin(Path(name).stem, name, asked=True), partial(_import, name))
    if unknown := sorted(blocked - plugins.found.keys()):
        there = ", ".join(plugins.found)
        raise CptError(f"no:{unknown[0]}: no plugin has this name. There are: {there}.")
    return plugins


def _described(point: EntryPoint) -> Plugin:
    if point.dist is None:
        return Plugin(point.name, point.value)
    return Plugin(point.name, point.dist.name, point.dist.version)


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
    names = ", ".join(each.plugin_name for each in implementations) or "nobody"
    click.echo(f"{hook}({', '.join(arguments)}) -> {names}", err=True)


def _trace_after(
    outcome: pluggy.Result[Any],
    hook: str,
    implementations: Sequence[Any],
    arguments: Mapping[str, Any],
) -> None:
    click.echo(f"{hook} = {outcome.exception or outcome.get_result()!r}", err=True)
