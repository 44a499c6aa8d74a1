"""Components by role and name."""

from __future__ import annotations

from difflib import get_close_matches
from itertools import chain
from typing import Any

import attrs

from cpt.errors import DuplicateComponent, UnknownComponent
from cpt.plugins import Plugins
from cpt.roles import ROLES, Component


@attrs.frozen
class Registry:
    """What every loaded plugin offers: `registry["loss", "apo_zero"]`."""

    plugins: Plugins
    components: dict[tuple[str, str], type[Component]]

    @classmethod
    def collect(cls, plugins: Plugins) -> Registry:
        """Ask every plugin what it offers. Raises `DuplicateComponent`."""
        components: dict[tuple[str, str], type[Component]] = {}
        for role in ROLES:
            hook = getattr(plugins.manager.hook, f"cpt_{plural(role)}")
            for offered in chain.from_iterable(hook()):
                key = role, offered.name
                if other := components.get(key):
                    raise DuplicateComponent(
                        f"Two {plural(role)} are called {offered.name!r}: "
                        f"{_where(other)} and {_where(offered)}. Block one with -p no:PLUGIN."
                    )
                components[key] = offered
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
        for plugin in self.plugins.broken:
            message += f" (Plugin {plugin.name!r} did not load, see `cpt plugins`.)"
        return message


def nearest(name: str, names: list[str]) -> str:
    """` Did you mean 'NAME'?` or nothing."""
    close = get_close_matches(name, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def plural(role: str) -> str:
    return f"{role}es" if role.endswith("s") else f"{role}s"


def _where(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
