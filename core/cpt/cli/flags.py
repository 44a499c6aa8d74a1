"""The flags of the command line, which depend on the components that are chosen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import attrs
import click
from click.shell_completion import CompletionItem

from cpt.config import Addresses, options, values
from cpt.errors import CptError
from cpt.plugins.registry import Registry
from cpt.roles import ROLES, Component


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

    def flags(
        self, cls: type[Any], under: str = "", *, hidden: bool = False, group: str = ""
    ) -> Iterator[Flag]:
        """Every flag of `cls`: a field `beta` under `loss.` is `--loss.beta`.

        A field that holds a component is a flag that picks one by name, followed by the flags of
        the one that is picked.
        """
        for field in options.fields(cls):
            address = f"{under}{field.name}"
            kind = options.without_none(field.type)
            if get_origin(kind) in (list, set):
                raise CptError(
                    f"{address}: {cls.__module__}.{cls.__qualname__} has a {kind} there, which no "
                    "option can be; write tuple[..., ...] in the plugin."
                )
            several = get_origin(kind) is tuple
            inner = get_args(kind)[0] if several else kind
            if get_origin(kind) is Mapping and attrs.has(get_args(kind)[1]):
                yield from self._named(address, get_args(kind)[1])
            elif get_origin(kind) is Mapping:
                yield from self._values(cls, field, address, hidden, group)
            elif attrs.has(inner) and not _is_role(inner):
                yield from self.flags(inner, f"{address}.", hidden=hidden, group=address)
            else:
                yield self._flag(cls, field, address, inner, several, hidden, group)
                if _is_role(inner):
                    yield from self._options_of_picked(address, inner, several, hidden)

    def _options_of_picked(
        self, address: str, base: type[Component], several: bool, hidden: bool
    ) -> Iterator[Flag]:
        picked = self.picked.get(address)
        if isinstance(picked, list) and not several:
            picked = picked[-1]  # as the flag itself does, if it is given twice
        places = (
            [(f"{address}.{index}", name) for index, name in enumerate(picked)]
            if isinstance(picked, list)
            else [(address, picked)]
        )
        for place, value in places:
            name = value.get("name") if isinstance(value, Mapping) else value
            if isinstance(name, str) and name:
                name = name.partition(":")[0]
                silent = hidden or address not in self.line
                chosen = self.registry[base.role, name]
                group = f"{address} {name}"
                yield from self.flags(chosen, f"{place}.", hidden=silent, group=group)

    def _named(self, address: str, kind: Any) -> Iterator[Flag]:
        """Flags of a mapping to options, for the names that are in use."""
        inner = (found.removeprefix(f"{address}.") for found in _under(self.picked, address))
        for name in dict.fromkeys(found.partition(".")[0] for found in inner):
            if name.isidentifier():  # else no flag is called so; the configuration refuses it
                yield from self.flags(kind, f"{address}.{name}.", hidden=True, group=address)

    def _values(
        self, cls: type[Any], field: attrs.Attribute[Any], address: str, hidden: bool, group: str
    ) -> Iterator[Flag]:
        """A flag for a whole mapping of any values, and one for each name in it that is in use."""
        about = options.descriptions(cls).get(field.name, "")  # type: ignore[arg-type]
        yield Flag(address, Value(), group=group, several=False, hidden=hidden, help=about)
        for found in _under(self.picked, address):
            if found.replace(".", "_").isidentifier():  # else a file has it, and no flag can
                yield Flag(found, Value(), group=group, several=False, hidden=True, under=address)

    def _flag(
        self,
        cls: type[Any],
        field: attrs.Attribute[Any],
        address: str,
        kind: Any,
        several: bool,
        hidden: bool,
        group: str,
    ) -> Flag:
        default = self.picked.get(address, options.default(field))
        about = options.descriptions(cls).get(field.name, "")  # type: ignore[arg-type]
        if isinstance(default, str | int | float) and default != "":
            about += f" [{default}]"
        elif field.default is attrs.NOTHING:
            about += " [must be given]"
        return Flag(
            address,
            Pick(kind.role, self.registry) if _is_role(kind) else _click_type(kind, field.type),
            group=group,
            several=several,
            short=field.metadata.get("short", False),
            default=None,
            help=about,
            hidden=hidden,
        )


def given(values: Mapping[str, Any], flags: Iterable[click.Parameter]) -> Addresses:
    """The values that the line gave, by address."""
    address_of = {flag.name: flag.address for flag in flags if isinstance(flag, Flag)}
    return {
        address_of[name]: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if name in address_of and value not in (None, ())
    }


def _under(addresses: Addresses, address: str) -> Iterator[str]:
    return (found for found in addresses if found.startswith(f"{address}."))


def _is_role(kind: Any) -> bool:
    return kind in ROLES.values()


def _click_type(kind: Any, whole: Any) -> Any:
    """What a flag takes for a `kind`; `whole` is that of the field, which may be None as well."""
    if get_origin(kind) is Literal:
        return click.Choice(get_args(kind))
    if kind in (int, float) and whole == kind | None:
        return OrNothing(kind)
    return kind if kind in (bool, int, float) else str
