"""What a plugin's hooks return: checked once, then picked by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
import click

from cpt.errors import UnknownComponent
from cpt.plugins.components import check_component
from cpt.roles import ROLES, Component

T = TypeVar("T")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What can be typed after a flag: `:` begins an argument, `/` ends the name of a plugin."""
PLACE = re.compile(r"\w+(\.\w+)*:\w+")
"""A class in a module."""


@attrs.frozen
class Deferred:
    """A component that is imported when it is picked."""

    hook: str
    name: str
    place: str
    """`MODULE:CLASS`, as in an entry point."""

    def load(self) -> type[Component]:
        """Import it. Raises `TypeError` or `ValueError` if it is no component of this name."""
        module, _, attribute = self.place.partition(":")
        cls = getattr(import_module(module), attribute, None)
        if cls is None:
            raise ValueError(f"{self.hook}: {module} has no {attribute!r}")
        check_component(cls, BASES[self.hook], self.hook)
        if cls.name != self.name:
            raise ValueError(f"{self.hook}: {self.place} is called {cls.name!r}, not {self.name!r}")
        return cls  # type: ignore[no-any-return]


@attrs.frozen
class Offers(Generic[T]):
    """Everything of one kind that plugins offer, by name."""

    kind: str
    """What an error calls one of them: `loss`, `preset`, `command`."""
    by_name: Mapping[str, Mapping[str, T]]
    """For each name, what is called so, by the plugin that offers it."""

    def names(self, reserved: Iterable[str] = ()) -> list[str]:
        """The names to pick by, sorted; `PLUGIN/NAME` where NAME alone is not enough."""
        return sorted(name for name, _ in self.items(reserved))

    def items(self, reserved: Iterable[str] = ()) -> Iterator[tuple[str, T]]:
        """Every thing with the name to pick it by."""
        for name, offered in self.by_name.items():
            alone = len(offered) == 1 and name not in reserved
            for plugin, thing in offered.items():
                yield name if alone else f"{plugin}/{name}", thing

    def find(self, name: str) -> T | None:
        """The one of this name, or None. Raises `UnknownComponent` if several plugins offer it."""
        plugin, _, plain = name.rpartition("/")
        offered = self.by_name.get(plain, {})
        if plugin:
            return offered.get(plugin)
        if len(offered) > 1:
            raise UnknownComponent(self._ambiguous(name, list(offered)))
        return next(iter(offered.values()), None)

    def _ambiguous(self, name: str, plugins: list[str]) -> str:
        whole = " or ".join(f"{plugin}/{name}" for plugin in plugins)
        return (
            f"{len(plugins)} plugins offer a {self.kind} called {name!r}: {', '.join(plugins)}. "
            f"Pick one with {whole}."
        )

    def including(self, thing: T, name: str) -> Offers[T]:
        """The same, but that `name` picks `thing`."""
        return attrs.evolve(self, by_name={**self.by_name, name: {"": thing}})


def plural(role: str) -> str:
    """`losses` of `loss`: a role's hook is `cpt_losses`."""
    return f"{role}es" if role.endswith("s") else f"{role}s"


BASES = {f"cpt_{plural(role)}": base for role, base in ROLES.items()}
"""For each hook that offers components, the class that they derive from."""


def nearest(name: str, names: Iterable[str]) -> str:
    """` Did you mean 'NAME'?` or nothing."""
    close = get_close_matches(name, list(names), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def checked(hook: str, returned: Any) -> dict[str, Any]:
    """What a hook returned, by name. Raises `TypeError` or `ValueError` if it is not right."""
    found: dict[str, Any] = {}
    for name, thing in CHECKS[hook](hook, returned):
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise ValueError(
                f"{hook}: the name {name!r} cannot be typed; "
                "it may have letters, digits, _, . and -, and no blanks"
            )
        if name in found:
            raise ValueError(f"{hook} returned two things called {name!r}")
        found[name] = thing
    return found


def _components(hook: str, returned: Any) -> Iterator[tuple[Any, type[Component] | Deferred]]:
    if isinstance(returned, Mapping):
        yield from _deferred(hook, returned)
        return
    for cls in _listed(hook, returned):
        check_component(cls, BASES[hook], hook)
        yield cls.name, cls


def _deferred(hook: str, returned: Mapping[Any, Any]) -> Iterator[tuple[Any, Deferred]]:
    for name, place in returned.items():
        if not (isinstance(place, str) and PLACE.fullmatch(place)):
            raise TypeError(f"{hook}: {name!r} must be the text 'MODULE:CLASS', got {place!r}")
        yield name, Deferred(hook, name, place)


def _commands(hook: str, returned: Any) -> Iterator[tuple[Any, click.Command]]:
    for command in _listed(hook, returned):
        if not isinstance(command, click.Command):
            raise TypeError(f"{hook} must return commands of click, got {command!r}")
        yield command.name, command


def _schemes(hook: str, returned: Any) -> Iterator[tuple[Any, Callable[[str], Path]]]:
    for name, make in _mapping(hook, returned).items():
        if not callable(make):
            raise TypeError(f"{hook}: {name!r} must be a function that makes a path, got {make!r}")
        yield name, make


def _presets(hook: str, returned: Any) -> Iterator[tuple[Any, Mapping[str, Any]]]:
    for name, preset in _mapping(hook, returned).items():
        of_picked = _mapping(f"{hook}: {name}", preset).get("options", {})
        for role, by_name in _mapping(f"{hook}: {name}: options", of_picked).items():
            for pick, values in _mapping(f"{hook}: {name}: options: {role}", by_name).items():
                _mapping(f"{hook}: {name}: options: {role}: {pick}", values)
        yield name, preset


def _listed(hook: str, returned: Any) -> list[Any]:
    if not isinstance(returned, Iterable) or isinstance(returned, str | bytes | Mapping):
        raise TypeError(f"{hook} must return a list, got {returned!r}")
    return list(returned)


def _mapping(what: str, returned: Any) -> Mapping[Any, Any]:
    if not isinstance(returned, Mapping):
        raise TypeError(f"{what} must be a dictionary, got {returned!r}")
    return returned


CHECKS: Mapping[str, Callable[[str, Any], Iterator[tuple[Any, Any]]]] = {
    **dict.fromkeys(BASES, _components),
    "cpt_commands": _commands,
    "cpt_paths": _schemes,
    "cpt_presets": _presets,
}
"""For each hook that offers things, the function that checks them."""
