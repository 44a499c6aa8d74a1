"""The code that components come from: a short text that changes when the code does."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from importlib.metadata import Distribution, entry_points
from pathlib import Path

from cpt.plugins.manager import GROUP
from cpt.roles import Component

OWN = "contrastive-post-training"
"""The distribution of cpt and of the plugins that come with it."""
SHOWN = 12
"""Hexadecimal digits that tell one content from another."""


def code_of(component: type[Component], installed: Mapping[str, Distribution]) -> str:
    """`my_loss.py 3f2a91c04b7e`: where a component comes from, and in which state; "" if unknown.

    A file counts by its content, a package by that of all its `.py` files, an installed
    distribution by its version. One that did not come from an index (an editable one, say) can
    change under the same version: its content counts as well. So do the classes that the component
    derives from; other modules that a file imports do not.

    What belongs to cpt, bundled plugins included, never counts: another version of cpt must not
    refuse pairs that were paid for, or a model that took days. Each stage records which version
    made it.
    """
    bases = [base for base in component.__mro__ if issubclass(base, Component)]
    roots = dict.fromkeys(_root(base.__module__) for base in bases)
    states = (_state(root, installed.get(root)) for root in roots if root != "cpt")
    return ", ".join(filter(None, states))


def installed() -> dict[str, Distribution]:
    """The distributions of the plugins that are loaded, by the module or package of each."""
    return {
        _root(point.module): point.dist
        for point in entry_points(group=GROUP)
        if point.dist and point.module in sys.modules
    }


def _state(root: str, distribution: Distribution | None) -> str:
    if distribution is None:
        return _code_digest(root)
    if distribution.name == OWN:
        return ""
    version = f"{distribution.name} {distribution.version}"
    # PEP 610: there unless it came from an index by its name.
    elsewhere = distribution.read_text("direct_url.json")
    return f"{version} ({_code_digest(root)})" if elsewhere else version


def _root(module: str) -> str:
    """The outermost package that a module is in, or itself; one without a file only has others."""
    parts = module.split(".")
    names = (".".join(parts[: count + 1]) for count in range(len(parts)))
    return next((name for name in names if _file(name)), module)


def _file(module: str) -> str | None:
    return getattr(sys.modules.get(module), "__file__", None)


def _code_digest(root: str) -> str:
    """The name of a file or package, and a digest of its code; "" if there is no file."""
    file = Path(_file(root) or "")
    if not file.is_file():
        return ""
    packaged = hasattr(sys.modules[root], "__path__")
    state = hashlib.blake2b(digest_size=SHOWN // 2)
    for source in sorted(file.parent.rglob("*.py")) if packaged else [file]:
        content = source.read_bytes()
        state.update(f"{source.relative_to(file.parent)} {len(content)}\n".encode() + content)
    return f"{root if packaged else file.name} {state.hexdigest()}"
