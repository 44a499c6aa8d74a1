"""Whether the plugins that are installed fit this cpt, and a catalogue: `cpt plugins --check`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from cpt.config import options
from cpt.errors import BadData, BadOptions, CptError
from cpt.plugins.manager import Plugin
from cpt.plugins.offers import BASES, Deferred
from cpt.plugins.registry import Registry
from cpt.roles import Component

OWN = "contrastive-post-training"


def _are_versions(known: Known, field: attrs.Attribute[str], value: str) -> None:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(value)
    except InvalidSpecifier as error:
        raise ValueError(f"versions are written as in >=0.1,<0.2, got {value!r}") from error


@attrs.frozen
class Known:
    """What a catalogue says of one plugin."""

    package: str
    """The distribution that it comes from."""
    versions: str = attrs.field(default="", validator=_are_versions)
    """Its versions that are known to work, as in a requirement: `>=0.1,<0.2`."""
    offers: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """The names of its components, by role."""
    about: str = ""
    """What it is for, in a few words."""
    where: str = ""
    """Where to read more: an address, or a folder."""


@attrs.frozen
class PluginFit:
    """What was found of one plugin."""

    name: str
    status: str
    """`fits`, `broken`, `blocked`, or `absent`: in the catalogue and not installed."""
    source: str
    version: str = ""
    components: tuple[str, ...] = ()
    """Its components, each with its role: `loss my_hinge`."""
    faults: tuple[str, ...] = ()
    """What has to be fixed, one line each; a plugin with one is broken."""
    notes: tuple[str, ...] = ()
    """What is good to know."""


def read_catalogue(path: Path, registry: Registry) -> dict[str, Known]:
    """The plugins of a catalogue by name. Raises `BadData` for a file that is none."""
    import tomllib

    try:
        plain = tomllib.loads(path.read_text())
        return {
            name: options.build(Known, values, registry, under=name)
            for name, values in plain.items()
        }
    except (ValueError, BadOptions) as error:
        raise BadData(f"{path}: no catalogue of plugins: {error}") from error


def fits(registry: Registry, catalogue: Mapping[str, Known]) -> Iterator[PluginFit]:
    """Every plugin that is there, then those that only the catalogue has; all are imported."""
    registry.plugins.load_all()
    found = registry.plugins.found
    for name, plugin in found.items():
        yield _fit(name, plugin, registry, catalogue.get(name))
    for name in catalogue.keys() - found.keys():
        yield PluginFit(name, "absent", catalogue[name].package, notes=(catalogue[name].about,))


def _fit(name: str, plugin: Plugin, registry: Registry, known: Known | None) -> PluginFit:
    of_it = (plugin.source, plugin.version)
    if plugin.status != "loaded":
        faults = (plugin.why,) if plugin.error else ()
        return PluginFit(name, plugin.status, *of_it, faults=faults)
    components = dict(_components(plugin))
    faults = (
        *_misfits(plugin),
        *(fault for cls in components.values() for fault in _wrong_options(cls, registry)),
        *(_unlike(plugin, components, known) if known else ()),
    )
    if faults:
        return PluginFit(name, "broken", *of_it, tuple(components), faults)
    return PluginFit(name, "fits", *of_it, tuple(components), notes=tuple(_notes(plugin)))


def _components(plugin: Plugin) -> Iterator[tuple[str, type[Component]]]:
    for hook, offered in plugin.offered.items():
        for name, thing in offered.items() if hook in BASES else ():
            cls = thing.load() if isinstance(thing, Deferred) else thing
            yield f"{cls.role} {name}", cls


def _misfits(plugin: Plugin) -> Iterator[str]:
    """The versions of cpt that a plugin asks for, where this is none of them."""
    from importlib.metadata import version

    from packaging.requirements import InvalidRequirement

    try:
        asked = list(_asked_of(plugin))
    except InvalidRequirement as error:
        yield f"what it requires cannot be read: {' '.join(str(error).split())}"
        return
    for specifier in asked:
        if not specifier.contains(here := version(OWN), prereleases=True):
            yield f"it needs {OWN}{specifier}, and this is {here}"


def _notes(plugin: Plugin) -> Iterator[str]:
    foreign = plugin.distribution and plugin.distribution.name != OWN
    if foreign and not any(map(str, _asked_of(plugin))):
        yield f"it names no versions of {OWN} that it works with"


def _asked_of(plugin: Plugin) -> Iterator[Any]:
    """The versions of cpt in what its distribution requires."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    requires = (plugin.distribution.requires if plugin.distribution else None) or ()
    for one in map(Requirement, requires):
        if canonicalize_name(one.name) == OWN and (not one.marker or one.marker.evaluate()):
            yield one.specifier


def _wrong_options(cls: type[Component], registry: Registry) -> Iterator[str]:
    """Defaults that nobody could have given."""
    made = options.converter(registry.including(cls))
    try:
        for field in options.fields(cls):
            if field.default is not attrs.NOTHING:
                _refuse_misfit(made, cls, field)
        if not any(field.default is attrs.NOTHING for field in options.fields(cls)):
            options.build(cls, {}, registry)
    except CptError as error:
        yield f"{cls.role} {cls.name}: {error}"


def _refuse_misfit(made: Any, cls: type[Component], field: attrs.Attribute[Any]) -> None:
    """Raise `BadOptions` if the default of a field is not of its type."""
    value = options.default(field)
    try:
        made.structure(made.unstructure(value), field.type)
    except Exception as error:
        raise BadOptions(f"{field.name}: its default {value!r} is no {field.type}") from error


def _unlike(plugin: Plugin, components: Mapping[str, Any], known: Known) -> Iterator[str]:
    """What is not as the catalogue says."""
    from packaging.specifiers import SpecifierSet

    if plugin.source != known.package:
        yield f"the catalogue has it from {known.package}"
    elif plugin.version not in SpecifierSet(known.versions, prereleases=True):
        yield f"the catalogue knows {known.package}{known.versions}, and this is {plugin.version}"
    listed = {f"{role} {name}" for role, names in known.offers.items() for name in names}
    if missing := sorted(listed - components.keys()):
        yield f"the catalogue says that it offers {', '.join(missing)}"
