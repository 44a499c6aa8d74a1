"""What is public, name by name: `python tests/public_api.py` writes the list of a release."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from cpt import hookspecs

ROOT = Path(__file__).parents[1]
PROMISED = Path(__file__).with_name("public_api.txt")


def listing() -> set[str]:
    """Every public name: `cpt.Pair.tier` is a field, `cpt.read_pairs(path)` an argument."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    found = {name for name in vars(hookspecs) if name.startswith("cpt_")}
    found |= {f"{hook}({name})" for hook in found for name in _arguments(vars(hookspecs)[hook])}
    for module in generate.PUBLIC:
        for name in generate.public_names(module):
            whole = f"{module.__name__}.{name}"
            found |= {whole, *_parts(whole, getattr(module, name))}
    return found


def _parts(whole: str, thing: Any) -> Iterator[str]:
    if inspect.isclass(thing):
        fields = attrs.fields_dict(thing) if attrs.has(thing) else ()
        own = {
            name for base in thing.__mro__[:-1] for name in vars(base) if "cpt" in base.__module__
        }
        for name in own | {*fields}:
            if not name.startswith("_"):
                yield f"{whole}.{name}"
                method = getattr(thing, name, None)
                if inspect.isfunction(method):
                    yield from (f"{whole}.{name}({one})" for one in _arguments(method))
    elif inspect.isfunction(thing):
        yield from (f"{whole}({one})" for one in _arguments(thing))


def _arguments(function: Any) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name != "self"]


if __name__ == "__main__":
    PROMISED.write_text("".join(f"{name}\n" for name in sorted(listing())))
