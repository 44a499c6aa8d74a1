"""Keys come from the environment, and go nowhere but to the service."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from cpt.errors import CptError
from cpt.roles import Responder
from cpt.secrets import hide, scrub

__all__ = ["check_key", "check_url", "scrub"]


def check_key(responder: Responder, variable: str, url: str = "") -> None:
    """Raise `CptError` unless this environment variable has a key that a header can hold.

    There need not be any for a `url` with plain http: such a server is one's own. From now on no
    message says the key.
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
    hide(key)


def check_url(url: str) -> None:
    """Raise `CptError` if an address is none, or may have a key in it: it is in files and logs."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise CptError(f"base_url: this is no address ({scrub(str(error))}).") from None
    shown = scrub(url.rpartition("@")[2].partition("?")[0].partition("#")[0])
    if "@" in parts.netloc:
        raise CptError(
            f"{shown}: this address was given with a user or a password in it, "
            "which would be written down; put the key in an environment variable."
        )
    if "?" in url or "#" in url:
        raise CptError(
            f"{shown}: this address was given with a query (?...), which would be written down, "
            "and may hold a key; leave it out, and put the key in the environment variable that "
            "`api_key_env` names."
        )
    if scrub(parts.path) != parts.path:
        raise CptError(
            f"{shown}: this address was given with a key in it, which would be written down; put "
            "the key in an environment variable."
        )
    if parts.scheme not in ("http", "https") or not host:
        raise CptError(f"{url!r} is no address; write base_url like http://127.0.0.1:8000/v1.")
