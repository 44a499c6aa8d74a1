"""Components by role and name."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import attrs

from cpt.errors import CptError, UnknownComponent
from cpt.plugins.manager import Plugins
from cpt.plugins.offers import Deferred, Offers, nearest, plural
from cpt.plugins.sums import is_sum, sum_of
from cpt.roles import ROLES, Component


@attrs.frozen
class Registry:
    """What every loaded plugin offers: `registry["loss", "apo_zero"]`.

    Where two plugins offer one name, `registry["loss", "PLUGIN/NAME"]` picks one.
    """

    plugins: Plugins
    offers: Mapping[str, Offers[type[Component] | Deferred]]
    """The components of each role."""

    @classmethod
    def collect(cls, plugins: Plugins) -> Registry:
        """The components of all plugins that are loaded."""
        return cls(plugins, {role: plugins.offers(f"cpt_{plural(role)}", role) for role in ROLES})

    @property
    def components(self) -> dict[tuple[str, str], type[Component]]:
        """Every component by its role and the name to pick it by; all are imported."""
        return {(role, name): self[role, name] for role in self.offers for name in self.names(role)}

    def names(self, role: str) -> list[str]:
        """The names that one role can take, sorted."""
        return self.offers[role].names()

    def name_of(self, component: type[Component]) -> str:
        """The name that picks this component: `PLUGIN/NAME` where two plugins offer the NAME."""
        name = component.name
        same = (other for other in self.names(component.role) if other.rpartition("/")[2] == name)
        return next((other for other in same if self[component.role, other] is component), name)

    def including(self, component: type[Component]) -> Registry:
        """The same, but that the name of `component` picks just this one."""
        offers = self.offers[component.role].including(component, component.name)
        return attrs.evolve(self, offers={**self.offers, component.role: offers})

    def __getitem__(self, key: tuple[str, str]) -> type[Component]:
        """The component of a role and name; of losses also a sum, such as `dpo+0.2*sft`.

        Raises `UnknownComponent` if no plugin offers this name, or more than one, and `CptError`
        if its module cannot be imported.
        """
        role, name = key
        if role == "loss" and is_sum(name):
            return sum_of(name, lambda part: self[role, part])
        found = self.offers[role].find(name)
        if found is None:
            raise UnknownComponent(self._no_such(role, name))
        return _loaded(found, f"the {role} {name!r}") if isinstance(found, Deferred) else found

    def _no_such(self, role: str, name: str) -> str:
        names = self.names(role)
        meant = self._known_as(role, name) or nearest(name, names)
        message = f"No {role} is called {name!r}.{meant}"
        message += f" There are: {', '.join(names) or 'none'}."
        if blocked := self.plugins.blocked:
            message += f" A blocked plugin may offer it: {', '.join(blocked)}."
        elif not meant:
            message += " If a plugin of yours has it, add -p FILE.py or -p MODULE."
        for plugin in self.plugins.broken:
            message += f" (Plugin {plugin.name!r} did not load: {plugin.why}.)"
        return message

    def _known_as(self, role: str, name: str) -> str:
        """` It is 'NAME' here.` where a component says that others call it so, or nothing."""
        for own in self.names(role):
            with suppress(CptError):  # one that cannot be loaded, or of several plugins
                if name in self[role, own].known_as:
                    return f" It is {own!r} here."
        return ""


def _loaded(deferred: Deferred, what: str) -> type[Component]:
    try:
        return deferred.load()
    except Exception as error:
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise CptError(f"{what} ({deferred.place}) cannot be loaded: {why}") from error
