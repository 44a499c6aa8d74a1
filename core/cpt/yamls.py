"""YAML as people write it: every mistake is an error with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cpt.errors import BadOptions


def read_yaml(path: Path) -> Any:
    """What a file says. Raises `BadOptions` if it is no YAML or gives a key twice."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise BadOptions(f"{path}: cannot be read ({error.strerror}).") from error
    except _Twice as error:
        raise BadOptions(f"{path}: {error.problem}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise BadOptions(f"{path}: not YAML ({_why(error)}).") from error


def _why(error: Exception) -> str:
    """What is wrong, and in which lines."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    found = ((error.problem, error.problem_mark), (error.context, error.context_mark))
    return ", ".join(
        f"{what} in line {mark.line + 1}" if mark else what for what, mark in found if what
    )


class _Twice(yaml.MarkedYAMLError):
    pass


class _Loader(yaml.SafeLoader):
    """Plain YAML silently lets the last of equal keys win."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        first: dict[tuple[str, str], int] = {}
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in first:
                there = f"line {line}: {key.value!r} is given twice, first in line {first[name]}"
                raise _Twice(problem=there)
            first[name] = line
        return node
