"""Components by role and name."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import attrs

from cpt.errors import DuplicateComponent, UnknownComponent
from cpt.plugins.manager import Plugin, Plugins
from cpt.roles import ROLES, Component


@attrs.frozen
class Registry:
    """What every loaded plugin offers: `registry["loss", "apo_zero"]`."""

    plugins: Plugins
    components: dict[tuple[str, str], type[Component]]

    @classmethod
    def collect(cls, plugins: Plugins) -> Registry:
        """Ask every plugin what it offers. Raises `DuplicateComponent`.

        A plugin that offers what is no component is left out, as if it had not loaded.
        """
        components: dict[tuple[str, str], type[Component]] = {}
        owners: dict[tuple[str, str], Plugin] = {}
        for plugin in [each for each in plugins.found.values() if each.state == "loaded"]:
            try:
                offered = list(_offered(plugins, plugin))
            except Exception as error:
                plugins.drop(plugin, error)
                continue
            for role, component in offered:
                key = role, component.name
                if key in components:
                    raise _twice(key, (components[key], owners[key]), (component, plugin))
                components[key], owners[key] = component, plugin
        return cls(plugins, components)

    def names(self, role: str) -> list[str]:
        """The names that one role can take, sorted."""
        return sorted(name for kind, name in self.components if kind == role)

    def __getitem__(self, key: tuple[str, str]) -> type[Component]:
        try:
            return self.components[key]
        except KeyError:
            raise UnknownComponent(self._no_such(*key)) from None

    def _no_such(self, role: str, name: str) -> str:
        names = self.names(role)
        message = f"No {role} is called {name!r}.{nearest(name, names)}"
        message += f" There are: {', '.join(names) or 'none'}."
        if not nearest(name, names):
            message += " If a plugin of yours has it, add -p FILE.py or -p MODULE."
        for plugin in self.plugins.broken:
            message += f" (Plugin {plugin.name!r} did not load: {plugin.why}.)"
        return message


def nearest(name: str, names: list[str]) -> str:
    """` Did you mean 'NAME'?` or nothing."""
    close = get_close_matches(name, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def plural(role: str) -> str:
    return f"{role}es" if role.endswith("s") else f"{role}s"


def _offered(plugins: Plugins, plugin: Plugin) -> Iterator[tuple[str, type[Component]]]:
    """The components of one plugin, each with its role."""
    for role, base in ROLES.items():
        hook = f"cpt_{plural(role)}"
        for cls in plugins.offered(plugin, hook):
            if not (isinstance(cls, type) and issubclass(cls, base)):
                raise TypeError(
                    f"{hook} must return classes derived from {_where(base)}, got {cls!r}"
                )
            if not isinstance(getattr(cls, "name", None), str):
                raise TypeError(f"{_where(cls)} has no name; write `name = ...` in the class")
            if "__attrs_attrs__" not in vars(cls) and _annotated(cls):
                raise TypeError(f"{_where(cls)} has fields; decorate it with @attrs.frozen")
            yield role, cls


def _annotated(cls: type[Component]) -> bool:
    """Whether it has fields of its own, which are options only of a class that attrs made."""
    kinds = vars(cls).get("__annotations__", {}).values()
    return not all("ClassVar" in str(kind) for kind in kinds)


def _twice(key: tuple[str, str], *claims: tuple[type[Component], Plugin]) -> DuplicateComponent:
    role, name = key
    told = " and ".join(f"{_where(cls)} of plugin {plugin.name!r}" for cls, plugin in claims)
    names = dict.fromkeys(plugin.name for _, plugin in claims if not plugin.asked)
    block = " or ".join(f"-p no:{each}" for each in names)
    return DuplicateComponent(
        f"Two {plural(role)} are called {name!r}: {told}. Block one with {block}."
    )


def _where(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
