"""The files of a run folder as plain data, without secrets."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cpt.errors import BadData
from cpt.service.credentials import SECRET_NAME, scrub

HIDDEN = "***"
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_ARGUMENT = re.compile(
    r"(?<=[?&])([\w-]*(?:key|token|secret|password|credential)s?)=[^&\s#]+", re.I
)


def read_json(path: Path) -> Any:
    """The content of a file, None if there is none. Raises `BadData` if it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise BadData(f"{path}: damaged ({error}); remove it and run the stage again.") from error


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """One record for each line, nothing if there is no file.

    Half a line at the end is skipped, as a killed process may leave one. Raises `BadData` for any
    other line that is not JSON.
    """
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                yield json.loads(line)
            except ValueError as error:
                if not line.endswith("\n"):
                    return
                raise BadData(f"{path}, line {number}: not JSON ({error}).") from error


def without_secrets(value: Any, name: str = "") -> Any:
    """Plain data with `***` for what may be a secret.

    These are values of options with such a name, passwords and keys in a URL, and values of
    environment variables with such a name.
    """
    if isinstance(value, Mapping):
        return {key: without_secrets(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(inner, name) for inner in value]
    if not isinstance(value, str):
        return value
    if value and SECRET_NAME.search(name):
        return HIDDEN
    return _ARGUMENT.sub(rf"\1={HIDDEN}", _LOGIN.sub(f"{HIDDEN}@", scrub(value)))
