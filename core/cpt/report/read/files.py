"""The files of a run folder as plain data, without secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cpt.secrets import SECRET_NAME, scrub

HIDDEN = "***"
_LOGIN = re.compile(r"(?<=://)[^/\s@]+@")
_ARGUMENT = re.compile(
    r"(?<=[?&])([\w-]*(?:key|token|secret|password|credential)s?)=[^&\s#]+", re.I
)


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
