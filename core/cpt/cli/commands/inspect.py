"""`cpt plugins` and `cpt show`: which plugins and components there are, with their options."""

from __future__ import annotations

import inspect
import traceback
from pathlib import Path
from typing import Any

import attrs
import click

from cpt.cli.commands.pairs import show_pairs
from cpt.cli.fits import fits, read_catalogue
from cpt.cli.printing.output import echo, echo_lines, print_json, takes_json
from cpt.config import Config, options
from cpt.plugins.manager import Plugin
from cpt.plugins.offers import plural
from cpt.plugins.registry import Registry
from cpt.roles import ROLES, Loss


@takes_json
@click.command()
@click.option("--traceback", "full", is_flag=True, help="Show why a plugin is broken.")
@click.option("--check", is_flag=True, help="Check that they fit; exit status 1 if one is broken.")
@click.option(
    "--catalogue",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --check: a TOML of known plugins, which they must be like.",
)
@click.pass_context
def plugins(
    context: click.Context, as_json: bool, full: bool, check: bool, catalogue: Path | None
) -> None:
    """List the plugins.

    One a line: its status, the time its import took, where it comes from, its hooks or its error.
    With --check, whether its hooks exist, it was made for this version, its components load and
    the defaults of their options are valid.
    """
    registry: Registry = context.obj
    if catalogue and not check:
        raise click.UsageError("--catalogue goes with --check.")
    if check:
        context.exit(_check(registry, as_json, catalogue))
    registry.plugins.load_all()
    found = registry.plugins.found
    if as_json:
        print_json([_plain(plugin) for plugin in found.values()], indent=2)
        return
    for key, plugin in found.items():
        what = plugin.why if plugin.error else ", ".join(plugin.hooks)
        took = f"{1000 * plugin.seconds:.0f} ms"
        source = f"{plugin.source} {plugin.version}".strip()
        echo(f"{key:<14} {plugin.status:<8} {took:>6}  {source:<32} {what}")
        if full and plugin.error:
            echo_lines("".join(traceback.format_exception(plugin.error)) + "\n")


def _check(registry: Registry, as_json: bool, catalogue: Path | None) -> int:
    """Print whether plugins fit: the exit status."""
    known = read_catalogue(catalogue, registry) if catalogue else {}
    found = list(fits(registry, known))
    if as_json:
        print_json([attrs.asdict(plugin) for plugin in found], indent=2)
    for plugin in found if not as_json else ():
        said = "; ".join((*plugin.faults, *plugin.notes)) or ", ".join(plugin.components)
        source = f"{plugin.source} {plugin.version}".strip()
        echo(f"{plugin.name:<14} {plugin.status:<8} {source:<32} {said}".rstrip())
    return int(any(plugin.status == "broken" for plugin in found))


def _plain(plugin: Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "status": plugin.status,
        "source": plugin.source,
        "version": plugin.version,
        "seconds": plugin.seconds,
        "hooks": plugin.hooks,
        "components": [
            {"role": role, "name": name}
            for role in ROLES
            for name in plugin.offered.get(f"cpt_{plural(role)}", ())
        ],
        "error": plugin.why if plugin.error else None,
    }


class Show(click.Command):
    """Components, or with `pairs` as its first word, pairs."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> click.Context:
        if args[:1] == ["pairs"]:
            return show_pairs.make_context("show pairs", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@takes_json
@click.command(cls=Show)
@click.argument("role", type=click.Choice(list(ROLES)), required=False)
@click.argument("name", required=False)
@click.pass_obj
def show(registry: Registry, role: str | None, name: str | None, as_json: bool) -> None:
    """List the components of a role, or describe one with its options.

    `cpt show pairs PAIRS` prints pairs: `cpt show pairs --help`.
    """
    roles = [role] if role else list(ROLES)
    described = [
        _described(registry, kind, called)
        for kind in roles
        for called in ([name] if name else registry.names(kind))
    ]
    if as_json:
        print_json(described, indent=2)
        return
    for component in described:
        label = component["name"] if role else f"{component['role']} {component['name']}"
        echo(f"{label:<24} {component['summary']}")
        if name:
            _echo_whole(component)


def _described(registry: Registry, role: str, name: str) -> dict[str, Any]:
    cls = registry[role, name]
    doc = inspect.cleandoc(cls.__doc__ or "")
    computed: dict[str, Any] = {}
    if issubclass(cls, Loss):
        computed = {"needs": sorted(cls.needs), "unpaired": cls.unpaired}
    return {
        "role": role,
        "name": name,
        **computed,
        "summary": doc.partition("\n")[0],
        "description": doc,
        "class": f"{cls.__module__}.{cls.__qualname__}",
        "options": list(options.schema(cls)),
    }


def _echo_whole(component: dict[str, Any]) -> None:
    rest = component["description"].partition("\n")[2].strip()
    echo_lines(f"\n{rest}\n" if rest else "")
    address = _address(component["role"])
    if "needs" in component:
        takes = "pairs or single answers" if component["unpaired"] else "pairs"
        also = f" and computes {', '.join(component['needs'])}" if component["needs"] else ""
        echo(f"  takes {takes}{also}")
    for option in component["options"]:
        flag = f"--{address}.{option['name'].replace('_', '-')}" if address else option["name"]
        value = "must be given" if option["required"] else f"default: {option['default']}"
        echo(f"  {flag:<34} {option['type']}  [{value}]")
        if option["help"]:
            echo(f"      {' '.join(option['help'].split())}")


def _address(role: str) -> str:
    """Where a run has a component of this role; nowhere, if only other components hold one."""
    known = {field.name for field in attrs.fields(Config)}
    return next((name for name in (role, plural(role)) if name in known), "")
