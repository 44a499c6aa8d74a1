"""YAML as people write it: every mistake is an error with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import yaml

from cpt.errors import BadOptions, shortened

LARGEST = 1_000_000
"""Characters of a file, and of what it says with every alias written out."""
MOST = 20_000
"""Values in a file, those of every alias counted again."""
BITS = 63
"""Of a whole number, besides its sign."""
DEEPEST = 50
"""Levels of values, one inside the other."""


def read_yaml(path: Path) -> Any:
    """What a file says. Raises `BadOptions` if it is no YAML, gives a key twice, or is too much."""
    try:
        return _loaded(_text(path))
    except OSError as error:
        raise BadOptions(f"{path}: cannot be read ({error.strerror}).") from error
    except _Refused as error:
        raise BadOptions(f"{path}: {error.problem}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadOptions(f"{path}: not YAML ({_why(error)}).") from error


def yaml_text(value: Any) -> str:
    """Plain values as YAML, with mappings in their order."""
    return str(yaml.dump(value, Dumper=FAST_DUMPER, sort_keys=False))


def _loaded(text: str) -> Any:
    """What a text says; the words for what is wrong do not depend on whether libyaml is here."""
    try:
        return yaml.load(text, FAST_LOADER)
    except Exception:
        return yaml.load(text, _Loader)


def _text(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        text = file.read(LARGEST + 1)
    if len(text) > LARGEST:
        raise BadOptions(f"{path}: more than {LARGEST} characters; no file of options is so long.")
    return text


def _why(error: Exception) -> str:
    """What is wrong, and in which lines."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    found = ((error.problem, error.problem_mark), (error.context, error.context_mark))
    return ", ".join(
        f"{what} in line {mark.line + 1}" if mark else what for what, mark in found if what
    )


class _Refused(yaml.MarkedYAMLError):
    pass


@attrs.frozen
class _Size:
    """How much there is."""

    values: int = 0
    characters: int = 0

    def __add__(self, other: _Size) -> _Size:
        return _Size(self.values + other.values, self.characters + other.characters)

    def __sub__(self, other: _Size) -> _Size:
        return _Size(self.values - other.values, self.characters - other.characters)


class _Loader(yaml.SafeLoader):
    """Plain YAML silently lets the last of equal keys win, and writes any alias out."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.size = _Size()
        self.depth = 0
        self.sizes: dict[yaml.Node, _Size] = {}

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        """Refuse what is too deep or too much, before any alias is written out."""
        line: int = self.peek_event().start_mark.line + 1  # type: ignore[no-untyped-call]
        alias, before = self.check_event(yaml.AliasEvent), self.size
        self.depth += 1
        if self.depth > DEEPEST:
            raise _Refused(problem=f"line {line}: more than {DEEPEST} levels")
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        if node is None:
            return None
        if alias and node not in self.sizes:
            raise _Refused(problem=f"line {line}: an anchor holds itself")
        text = node.value if isinstance(node, yaml.ScalarNode) else ""
        self.size += self.sizes[node] if alias else _Size(1, len(text))
        if self.size.values > MOST or self.size.characters > LARGEST:
            raise _Refused(
                problem=f"line {line}: more than {MOST} values or {LARGEST} characters, "
                "with every alias written out"
            )
        self.sizes.setdefault(node, self.size - before)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node. Any way in which its text is none has the line."""
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()  # half of a character is no text
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            kind = node.tag.rpartition(":")[2]
            problem = f"{shortened(str(node.value), 60)!r} is no {kind}"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error
        if isinstance(value, int) and value.bit_length() > BITS:
            line = node.start_mark.line + 1
            raise _Refused(problem=f"line {line}: a whole number of more than {BITS} bits")
        return value

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in first:
                there = f"line {line}: {key.value!r} is given twice, first in line {first[name]}"
                raise _Refused(problem=there)
            first[name] = line
        return node


FAST_DUMPER: Any = yaml.SafeDumper
FAST_LOADER: Any = _Loader
if yaml.__with_libyaml__:
    from yaml._yaml import CParser
    from yaml.composer import Composer

    class _FastLoader(CParser, _Loader):
        """Parsed by libyaml, and composed where the checks are."""

        get_single_node = Composer.get_single_node

        def __init__(self, text: str) -> None:
            CParser.__init__(self, text)
            _Loader.__init__(self, text)

    FAST_DUMPER, FAST_LOADER = yaml.CSafeDumper, _FastLoader
