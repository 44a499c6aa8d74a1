"""Commands of plugins, whose options have addresses as those of a run: `commands.NAME.OPTION`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from cpt import config
from cpt.config import Layer
from cpt.errors import BadOptions
from cpt.plugins.offers import nearest


def with_config(command: click.Command) -> click.Command:
    """The command with `--config FILE`, unless it has an option of that name."""
    if any("--config" in param.opts for param in command.params):
        return command
    option = click.Option(
        ["--config"],
        metavar="FILE",
        help=f"Options in YAML, under {config.COMMANDS}.{command.name}.",
        is_eager=True,
        expose_value=False,
        callback=_read_file,
    )
    taking = copy.copy(command)
    taking.params = [*command.params, option]
    return taking


def from_environment(ctx: click.Context, command: click.Command) -> dict[str, Any]:
    """The options that variables give, as click takes defaults. Raises `BadOptions`."""
    return _defaults(ctx, command, config.environment())


def _read_file(ctx: click.Context, _: click.Parameter, path: str | None) -> None:
    """Put the options in a file under those of the environment."""
    if path is not None:
        given = _defaults(ctx, ctx.command, config.read(Path(path)))
        ctx.default_map = _merged(given, ctx.default_map or {})


def _defaults(ctx: click.Context, command: click.Command, layer: Layer) -> dict[str, Any]:
    defaults: dict[str, Any] = {}
    under = [config.COMMANDS, _spelled(str(command.name))]
    for path, value in _leaves(layer.values if layer.tree is None else layer.tree):
        if path[: len(under)] == under:
            try:
                _put(defaults, ctx, command, path[len(under) :], value)
            except ValueError as error:
                address = ".".join(path)
                raise BadOptions(f"{address}: {error} (from {layer.place(address)})") from error
    return defaults


def _leaves(tree: Mapping[str, Any], above: Sequence[str] = ()) -> Iterator[tuple[list[str], Any]]:
    """Every value with its address in parts; `name` is an option as any other here."""
    for key, value in tree.items():
        path = [*above, *_spelled(str(key)).split(".")]
        if isinstance(value, Mapping):
            yield from _leaves(value, path)
        else:
            yield path, value


def _put(
    defaults: dict[str, Any],
    ctx: click.Context,
    command: click.Command,
    path: list[str],
    value: Any,
) -> None:
    """Set a value where click looks for it, in the tree of a command and its sub-commands.

    Raises `ValueError` if there is no such option, or it cannot have the value.
    """
    commands = dict(_commands(ctx, command))
    if len(path) > 1 and path[0] in commands:
        inner = commands[path[0]]
        _put(defaults.setdefault(str(inner.name), {}), ctx, inner, path[1:], value)
        return
    if not path:
        raise ValueError(f"expected options by name, got {value!r}.")
    options = {str(param.name): param for param in command.params if param.expose_value}
    name = ".".join(path)
    if name not in options:
        known = ", ".join([*options, *commands]) or "none"
        raise ValueError(f"no such option.{nearest(name, options)} There are: {known}.")
    defaults[name] = _taken(ctx, command, options[name], value)


def _taken(ctx: click.Context, command: click.Command, option: click.Parameter, value: Any) -> Any:
    """The value, if the option takes it: one alone is a list of one where several are taken."""
    several = option.multiple or option.nargs != 1
    value = [value] if several and not isinstance(value, list | tuple) else value
    with click.Context(command, parent=ctx) as scope:
        try:
            option.type_cast_value(scope, value)
        except click.BadParameter as error:
            raise ValueError(error.message) from error
    return value


def _commands(ctx: click.Context, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    """The sub-commands of a group, as addresses spell them."""
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            if inner := command.get_command(ctx, name):
                yield _spelled(name), inner


def _spelled(address: str) -> str:
    return address.replace("-", "_")


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Both trees in one; `above` wins."""
    inner = {
        name: _merged(below[name], value)
        for name, value in above.items()
        if isinstance(value, Mapping) and name in below
    }
    return {**below, **above, **inner}
