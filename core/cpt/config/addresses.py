"""Values by address: one dotted name for each, and the same values as a tree."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterator, Mapping
from typing import Any

from cpt.errors import BadOptions

Addresses = dict[str, Any]
"""Values by address: `loss` is a name, `loss.beta` an option of the component of that name."""


def over(below: Mapping[str, Any], above: Mapping[str, Any]) -> Addresses:
    """Both; `above` wins, and another value at an address drops the options under the old one."""
    kept = dict(below)
    for address, value in above.items():
        if not _is_same(below.get(address, value), value):
            kept = without(kept, address)
    return {**kept, **above}


def _is_same(below: Any, above: Any) -> bool:
    """Whether two values are one; `PLUGIN/NAME` only says which NAME is meant."""
    return below == above or (
        isinstance(below, str) and isinstance(above, str) and above.endswith(f"/{below}")
    )


def flatten(
    tree: Mapping[str, Any], under: str = "", *, whole: Container[str] = ()
) -> Iterator[tuple[str, Any]]:
    """`{loss: {name: dpo, beta: 0.1}}` as `loss: dpo, loss.beta: 0.1`.

    A mapping at one of the addresses `whole` is one value.
    """
    for key, value in tree.items():
        if isinstance(value, Mapping) and f"{under}{key}" not in whole:
            yield from flatten(value, f"{under}{key}.", whole=whole)
        else:
            yield (under.removesuffix(".") if key == "name" and under else f"{under}{key}"), value


def unflatten(addresses: Mapping[str, Any]) -> dict[str, Any]:
    """The reverse of `flatten`; `rungs.0.beta` is an option of the first of several."""
    tree: dict[str, Any] = {}
    for address in sorted(addresses, key=lambda address: address.count(".")):
        *path, last = address.split(".")
        node: Any = tree
        for step in path:
            node = _enter(_only(node, step), step, address)
        node = _only(node, last)
        if isinstance(node, list):
            raise BadOptions(f"{address}: say which of the {len(node)} is meant, by number from 0.")
        node[last] = copy.deepcopy(addresses[address])
    return tree


def _only(node: Any, step: str) -> Any:
    """The only member of a list of one, where the address gives no number."""
    if isinstance(node, list) and len(node) == 1 and not step.isdigit():
        return _enter(node, "0", step)
    return node


def _enter(node: Any, step: str, address: str) -> Any:
    """The options under a step; a bare name there becomes options."""
    if isinstance(node, list):
        if not step.isdigit() or int(step) >= len(node):
            raise BadOptions(f"{address}: {step} is not one of 0 to {len(node) - 1}.")
        key: Any = int(step)
    else:
        key = step
        node.setdefault(key, {})
    if not isinstance(node[key], dict | list):
        node[key] = {"name": node[key]}
    return node[key]


def without(addresses: Mapping[str, Any], dropped: str) -> Addresses:
    """All but an address and the addresses under it."""
    return {
        address: value
        for address, value in addresses.items()
        if address != dropped and not address.startswith(f"{dropped}.")
    }
