"""Where the values of a configuration come from.

Every value has one dotted address (`loss.beta`), the same in a file, in the environment and on
the command line. Of the layers, a later one wins: defaults, preset, run folder, file, environment,
flags.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, get_origin

import attrs

from cpt.config import options, values
from cpt.config.addresses import Addresses, flatten, over, unflatten, without
from cpt.config.config import Config, training_of
from cpt.config.places import Places
from cpt.errors import BadOptions, UnknownComponent
from cpt.plugins.offers import Offers, nearest
from cpt.plugins.registry import Registry
from cpt.yamls import read_yaml

DEFAULTS: Mapping[str, Any] = {
    "scheduler": "shuffle",
    "loss": "apo_zero",
    "generator": "transformers",
    "generator.model": "filled in",
}
"""The components of a run that names no others."""

DEFAULT_PRESET = "lab"
"""What fills in a run that names no prompts, pairs, model or responder."""

PREFIX = "CPT_"
"""What the name of every environment variable begins with."""

RESERVED = {"CPT_PLUGINS", "CPT_TRACE", "CPT_CACHE"}
"""Environment variables that are not options."""

COMMANDS = "commands"
"""Where the options of plugins' commands are, in a file and in the environment of a run."""


@attrs.frozen
class Layer:
    """Values from one place."""

    source: str
    """What an error calls the place."""
    values: Addresses
    recorded: bool = False
    """Whether a run wrote it, not a person."""
    tree: Mapping[str, Any] | None = None
    """The values as they were written, where that was in a tree."""

    def place(self, address: str) -> str:
        """Where the value at an address was written."""
        return self.source

    @classmethod
    def of(cls, source: str, tree: Mapping[str, Any], *, recorded: bool = False) -> Layer:
        """The values of a tree."""
        return cls(source, dict(flatten(tree)), recorded=recorded, tree=tree)


@attrs.frozen
class Variables(Layer):
    """Values from the environment, each in a variable of its own."""

    def place(self, address: str) -> str:
        return f"{PREFIX}{address.upper().replace('.', '__')}"


def of_run(layer: Layer) -> Layer:
    """The same without the options of plugins' commands."""
    return _dropping(layer, COMMANDS)


def settled(layers: Sequence[Layer], registry: Registry) -> list[Layer]:
    """The same, with one value for each option that is a mapping of any values in a tree.

    Which these are is known once it is known which components are picked.
    """
    places = Places(registry, merge(layers)).of(Config)
    with suppress(UnknownComponent):  # whoever needs it says so
        whole = frozenset(place.address for place in places if place.is_open)
        return [_with_whole(layer, whole) for layer in layers]
    return list(layers)


def _with_whole(layer: Layer, whole: frozenset[str]) -> Layer:
    if layer.tree is None:
        return layer
    return attrs.evolve(layer, values=dict(flatten(layer.tree, whole=whole)))


def resolve(layers: Sequence[Layer], registry: Registry) -> Config:
    """Merge the layers and build the configuration. Raises `BadOptions`."""
    layers = settled(layers, registry)
    try:
        config = options.build(Config, unflatten(merge(layers)), registry)
        for name in config.controls:
            training_of(config, name, registry)
        return config
    except BadOptions as error:
        lines = [_with_source(line, layers) for line in error.message.splitlines()]
        raise BadOptions("; ".join(lines)) from error


def stack(given: Sequence[Layer], registry: Registry, default_preset: bool = True) -> list[Layer]:
    """The defaults and the preset, under what was given.

    With `default_preset`, one preset fills in a run that names nothing to work on.
    """
    known = {name for offers in registry.offers.values() for name in offers.names()}
    defaults = {key: value for key, value in DEFAULTS.items() if _pick(key) in known}
    above = merge(given)
    name = above.pop("preset", None)
    named = {"prompts", "pairs", "model", "responder"} & above.keys()
    if name is None and default_preset and not named:
        name = DEFAULT_PRESET if DEFAULT_PRESET in presets(registry).names() else None
    preset = Layer.of(f"preset {name}", _preset(name, above, registry) if name else {})
    above_it = (_dropping(layer, "preset") for layer in given)
    return [Layer("the defaults", defaults), preset, *above_it]


def _pick(address: str) -> Any:
    """The default component that a default is an option of, or is."""
    return DEFAULTS[address.partition(".")[0]]


def presets(registry: Registry) -> Offers[Mapping[str, Any]]:
    """All that the plugins offer."""
    return registry.plugins.offers("cpt_presets", "preset")


def _preset(name: str, above: Addresses, registry: Registry) -> dict[str, Any]:
    offered = presets(registry)
    preset = offered.find(name)
    if preset is None:
        names = offered.names()
        raise BadOptions(
            f"preset: no preset is called {name!r}.{nearest(name, names)} "
            f"There are: {', '.join(names) or 'none'}."
        )
    tree = dict(preset)
    special: Mapping[str, Mapping[str, Any]] = tree.pop("options", {})
    values = dict(flatten(tree))
    for role, by_name in special.items():
        picked = str(above.get(role, values.get(role, DEFAULTS.get(role, ""))))
        if picked in by_name:
            tree = {**without(tree, role), role: {"name": picked, **by_name[picked]}}
    return tree


def read(path: Path) -> Layer:
    """The values in a YAML file. Raises `BadOptions`."""
    tree = read_yaml(path) or {}
    if not isinstance(tree, Mapping):
        raise BadOptions(f"{path}: expected options by name, got {type(tree).__name__}.")
    found = list(flatten(tree))
    often = [address for address, count in Counter(key for key, _ in found).items() if count > 1]
    if often:
        raise BadOptions(f"{path}: {often[0]} is given twice, in two spellings.")
    return Layer.of(str(path), tree)


def environment() -> Layer:
    """`CPT_LOSS__BETA=0.1` as `loss.beta: 0.1`."""
    found = {
        name.removeprefix(PREFIX).lower().replace("__", "."): values.Unparsed(value)
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and name not in RESERVED
    }
    return Variables("the environment", found)


def preparse(line: Sequence[str]) -> Addresses:
    """The values on a command line, before it is known which flags exist.

    Of a flag that is given twice the last value counts, unless it takes several.
    """
    several = {field.name for field in options.fields(Config) if get_origin(field.type) is tuple}
    found: Addresses = {}
    for word, following in pairwise([*line, "--"]):
        if not word.startswith("--") or word == "--":
            continue
        flag, equals, value = word[2:].partition("=")
        if not equals and following.startswith("--"):
            continue
        address = flag.replace("-", "_")
        value = value if equals else following
        before = found.get(address) if "." in address or address in several else None
        found[address] = value if before is None else [*_listed(before), value]
    return found


def merge(layers: Iterable[Layer]) -> Addresses:
    """All layers in one; the later wins."""
    merged: Addresses = {}
    for layer in layers:
        merged = over(merged, layer.values)
    return merged


def _dropping(layer: Layer, dropped: str) -> Layer:
    tree = layer.tree and without(layer.tree, dropped)
    return attrs.evolve(layer, values=without(layer.values, dropped), tree=tree)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _with_source(complaint: str, layers: Sequence[Layer]) -> str:
    """The complaint, with the place that gave its address or the closest address above it."""
    if complaint.endswith(options.MISSING):
        return complaint
    address = complaint.partition(":")[0]
    while address:
        for layer in reversed(layers):
            under = [given for given in layer.values if f"{given}.".startswith(f"{address}.")]
            if under:
                place = layer.place(under[0])
                changed = "; a plugin has changed: change it there too, or choose another --output"
                return f"{complaint} (from {place}{changed if layer.recorded else ''})"
        address = address.rpartition(".")[0]
    return complaint
