"""Every address that an option of some class may have, for the components that are picked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

import attrs

from cpt.config import options
from cpt.errors import CptError
from cpt.plugins.registry import Registry
from cpt.roles import ROLES


@attrs.frozen(kw_only=True)
class Place:
    """An option at its address."""

    address: str
    cls: type[Any]
    """The class that has the field."""
    field: attrs.Attribute[Any]
    group: str = ""
    """Whose option it is: the address of a group, or of a component, then with its name."""
    picks: frozenset[str] = frozenset()
    """The addresses of the components that it is an option of."""
    named: bool = False
    """Whether it is under a name that the user chose."""

    @property
    def several(self) -> bool:
        return get_origin(self._whole) is tuple

    @property
    def kind(self) -> Any:
        """The type of the value, or of each where there are several."""
        return get_args(self._whole)[0] if self.several else self._whole

    @property
    def _whole(self) -> Any:
        return options.without_none(self.field.type)

    @property
    def is_open(self) -> bool:
        """Whether it is a mapping with any names: one value, whatever it holds."""
        return get_origin(self.kind) is Mapping and not self.by_name

    @property
    def by_name(self) -> type[Any] | None:
        """The class whose options it holds by name, if it does."""
        inner = get_args(self.kind)[1:] if get_origin(self.kind) is Mapping else ()
        return inner[0] if inner and attrs.has(inner[0]) else None

    @property
    def role(self) -> str:
        """The role of the component that it holds, or nothing."""
        return self.kind.role if self.kind in ROLES.values() else ""


@attrs.frozen
class Places:
    """Finds the places of options."""

    registry: Registry
    picked: Mapping[str, Any]
    """The values that are given so far, by address."""

    def of(self, cls: type[Any], under: str = "", **above: Any) -> Iterator[Place]:
        """Those of `cls`; after a place that holds a component, those of the one that is picked.

        Raises `UnknownComponent` if there is none of a name that is picked.
        """
        for field in options.fields(cls):
            place = Place(address=f"{under}{field.name}", cls=cls, field=field, **above)
            _refuse_lists(place)
            if place.by_name:
                yield from self._by_name(place, place.by_name)
            elif attrs.has(place.kind) and not place.role:
                yield from self.of(
                    place.kind, f"{place.address}.", **above | {"group": place.address}
                )
            else:
                yield place
                if place.role:
                    yield from self._of_picked(place)

    def _of_picked(self, place: Place) -> Iterator[Place]:
        picked = self.picked.get(place.address)
        if isinstance(picked, list) and not place.several:
            picked = picked[-1] if picked else None  # as the flag itself does, if it is given twice
        values = (
            [(f"{place.address}.{index}", value) for index, value in enumerate(picked)]
            if isinstance(picked, list)
            else [(place.address, picked)]
        )
        for address, value in values:
            name = value.get("name") if isinstance(value, Mapping) else value
            if isinstance(name, str) and name:
                name = name.partition(":")[0]
                yield from self.of(
                    self.registry[place.role, name],
                    f"{address}.",
                    group=f"{place.address} {name}",
                    picks=place.picks | {place.address},
                    named=place.named,
                )

    def _by_name(self, place: Place, cls: type[Any]) -> Iterator[Place]:
        """Those of a mapping to options, for the names that are in use."""
        inner = (found.removeprefix(f"{place.address}.") for found in self.under(place.address))
        for name in dict.fromkeys(found.partition(".")[0] for found in inner):
            if name.isidentifier():  # else no flag is called so; the configuration refuses it
                under, group = f"{place.address}.{name}.", place.address
                yield from self.of(cls, under, group=group, picks=place.picks, named=True)

    def under(self, address: str) -> Iterator[str]:
        """The addresses below one that are in use."""
        return (found for found in self.picked if found.startswith(f"{address}."))


def _refuse_lists(place: Place) -> None:
    if get_origin(place.kind) in (list, set):
        where = f"{place.cls.__module__}.{place.cls.__qualname__}"
        raise CptError(
            f"{place.address}: {where} has a {place.kind} there, which no option can be; write "
            "tuple[..., ...] in the plugin."
        )
