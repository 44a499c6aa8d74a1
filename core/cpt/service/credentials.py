"""Keys come from the environment, and go nowhere but to the service."""

from __future__ import annotations

import os
import re
from urllib.parse import urlsplit

from cpt.errors import CptError
from cpt.roles import Responder

SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
SHORTEST = 8
"""A shorter value may be an ordinary word."""


def check_key(responder: Responder, variable: str, url: str = "") -> None:
    """Raise `CptError` unless this environment variable has a key that a header can hold.

    There need not be any for a `url` with plain http: such a server is one's own.
    """
    key = os.environ.get(variable, "")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise CptError(
            f"{variable}: the key in this environment variable has a blank, a line break or a "
            "letter in it that no key has; copy it again."
        )
    if not key and urlsplit(url).scheme != "http":
        raise CptError(
            f"{responder.name}:{responder.author} needs a key: set the environment variable "
            f"{variable}, or name another with `api_key_env`."
        )


def check_url(url: str) -> None:
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
