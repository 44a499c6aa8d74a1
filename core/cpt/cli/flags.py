"""The flags of the command line, which depend on the components that are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import attrs
import click
from click.shell_completion import CompletionItem

from cpt.config import Addresses, options, values
from cpt.config.places import Place, Places
from cpt.plugins.registry import Registry


class Pick(click.ParamType[str]):
    """A component by name, or `NAME:ARGUMENT`."""

    def __init__(self, role: str, registry: Registry) -> None:
        self.name = "|".join(registry.names(role)) or role
        self.role = role
        self.registry = registry

    def convert(self, value: Any, param: Any, ctx: Any) -> str:
        """Raises `UnknownComponent`; no text takes back what was picked."""
        if value == "":
            return ""
        self.registry[self.role, str(value).partition(":")[0]]
        return str(value)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return f"[{self.name}]"

    def shell_complete(self, ctx: Any, param: Any, incomplete: str) -> list[CompletionItem]:
        names = self.registry.names(self.role)
        return [CompletionItem(name) for name in names if name.startswith(incomplete)]


class OrNothing(click.ParamType[Any]):
    """A number, or no text, which takes back one that was given."""

    def __init__(self, number: type[int | float]) -> None:
        self.number: click.ParamType[Any] = click.types.convert_type(number)
        self.name = self.number.name

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return value if value == "" else self.number.convert(value, param, ctx)


class Value(click.ParamType[Any]):
    """A value of any kind: JSON, or else text."""

    name = "json"

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return values.from_text(value) if isinstance(value, str) else value


class Flag(click.Option):
    """An option at its address; with `short`, its last name alone is a second spelling."""

    def __init__(
        self,
        address: str,
        kind: Any,
        *,
        group: str,
        several: bool,
        short: bool = False,
        under: str = "",
        **rest: Any,
    ) -> None:
        spelling = address.replace("_", "-")
        names = [spelling.rpartition(".")[2], spelling] if short else [spelling]
        if under:
            # A name inside a mapping of any values is not ours, and mostly written with `_`.
            names.append(under.replace("_", "-") + address.removeprefix(under))
        super().__init__(
            [
                *(f"--{name}/--no-{name}" if kind is bool else f"--{name}" for name in names),
                address.replace(".", "__"),
            ],
            type=None if kind is bool else kind,
            multiple=several,
            **rest,
        )
        self.address = address
        self.group = group


@attrs.frozen
class FlagBuilder:
    """Makes the flags for the components that are chosen."""

    registry: Registry
    picked: Addresses
    """Everything chosen so far, from every layer."""
    line: Addresses
    """What is on the line itself: only its components show their options in the help."""

    def flags(self, cls: type[Any]) -> Iterator[Flag]:
        """Every flag of `cls`: a field `beta` under `loss.` is `--loss.beta`.

        A field that holds a component is a flag that picks one by name, followed by the flags of
        the one that is picked.
        """
        places = Places(self.registry, self.picked)
        for place in places.of(cls):
            yield self._flag(place)
            if place.is_open:
                yield from self._names(place, places.under(place.address))

    def _names(self, place: Place, used: Iterable[str]) -> Iterator[Flag]:
        """A flag for each name in a mapping of any values that is in use."""
        for found in used:
            if found.replace(".", "_").isidentifier():  # else a file has it, and no flag can
                under, group = place.address, place.group
                yield Flag(found, Value(), group=group, several=False, hidden=True, under=under)

    def _flag(self, place: Place) -> Flag:
        return Flag(
            place.address,
            self._type(place),
            group=place.group,
            several=place.several,
            short=place.field.metadata.get("short", False),
            default=None,
            help=self._help(place),
            hidden=place.named or not place.picks <= self.line.keys(),
        )

    def _type(self, place: Place) -> Any:
        """What the flag takes."""
        if place.role:
            return Pick(place.role, self.registry)
        return Value() if place.is_open else _click_type(place.kind, place.field.type)

    def _help(self, place: Place) -> str:
        about = options.descriptions(place.cls).get(place.field.name, "")  # type: ignore[arg-type]
        default = self.picked.get(place.address, options.default(place.field))
        if isinstance(default, str | int | float) and default != "":
            return f"{about} [{default}]"
        required = place.field.default is attrs.NOTHING
        return f"{about} [must be given]" if required else about


def given(values: Mapping[str, Any], flags: Iterable[click.Parameter]) -> Addresses:
    """The values that the line gave, by address."""
    address_of = {flag.name: flag.address for flag in flags if isinstance(flag, Flag)}
    return {
        address_of[name]: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if name in address_of and value not in (None, ())
    }


def _click_type(kind: Any, whole: Any) -> Any:
    """What a flag takes for a `kind`; `whole` is that of the field, which may be None as well."""
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if kind in (int, float) and whole == kind | None:
        return OrNothing(kind)
    return kind if kind in (bool, int, float) else str
