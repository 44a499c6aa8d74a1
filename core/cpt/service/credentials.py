"""Keys come from the environment, and go nowhere but to the service."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from cpt.errors import CptError

SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
SHORTEST = 8
"""A shorter value may be an ordinary word."""


def refuse_unsendable(variable: str) -> None:
    """Raise `CptError` if the key in this environment variable cannot be sent in a header."""
    key = os.environ.get(variable, "")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise CptError(
            f"{variable}: the key in this environment variable has a blank, a line break or a "
            "letter in it that no key has; copy it again."
        )


def refuse_password(url: str) -> None:
    """Raise `CptError` if an address has a user or a password in it: it is in files and logs."""
    if "@" in urlsplit(url).netloc:
        raise CptError(
            f"{url.rpartition('@')[2]}: this address was given with a user or a password in it, "
            "which would be written down; put the key in an environment variable."
        )


def scrub(text: str) -> str:
    """The text without the value of any environment variable whose name says it is a secret."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and SECRET_NAME.search(name):
            text = text.replace(value, "***")
    return text
