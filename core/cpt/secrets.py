"""Secrets do not get into messages, and messages stay one short line."""

from __future__ import annotations

import os
import re

SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
"""Environment variables that hold a secret."""
SHORTEST = 8
"""A shorter value, or part of a key, may be an ordinary word."""
HIDDEN = "***"
LOGIN = re.compile(r"//[^/@\s]{1,200}@")
"""A user and a password in an address."""
MOST = 400
"""Characters of a message."""
READ = 100_000
"""Characters of a message that are looked at."""

_keys: dict[str, frozenset[str]] = {}
"""Keys that are sent to services, each with all its parts of the shortest length."""


def hide(key: str) -> None:
    """Keep a key, and every part of it of 8 or more characters, out of all messages from now on."""
    if len(key) >= SHORTEST and key not in _keys:
        starts = range(len(key) - SHORTEST + 1)
        _keys[key] = frozenset(key[start : start + SHORTEST] for start in starts)


def scrub(text: str) -> str:
    """The text without secrets.

    Secrets are keys that were sent to a service (whole or in parts), the values of environment
    variables whose names say so, and logins in addresses.
    """
    for name in filter(SECRET_NAME.search, os.environ):
        if len(value := os.environ[name]) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    for parts in _keys.values():
        text = _without(text, parts)
    return LOGIN.sub(f"//{HIDDEN}@", text)


def scrub_answer(text: str) -> str:
    """An answer without whole keys that were sent: no model knows them, but an endpoint does."""
    for key in _keys:
        text = text.replace(key, HIDDEN)
    return text


def one_line(text: str, most: int = MOST) -> str:
    """The text scrubbed, then without line breaks and control characters, then cut."""
    # The order matters: of a key that was cut first, a part would stay.
    text = scrub(text[:READ])
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(shown.split())[:most]


def _without(text: str, parts: frozenset[str]) -> str:
    """The text with every run of characters hidden that `parts` cover."""
    shown: list[str] = []
    end = 0
    for start in range(len(text) - SHORTEST + 1):
        if text[start : start + SHORTEST] in parts:
            if start >= end:
                shown += [text[end:start], HIDDEN]
            end = start + SHORTEST
    return "".join([*shown, text[end:]])
