"""Keys come from the environment, and go nowhere but to the service."""

from __future__ import annotations

import os
import re

SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|CREDENTIALS?)$", re.IGNORECASE)
SHORTEST = 8
"""A shorter value may be an ordinary word."""


def scrub(text: str) -> str:
    """The text without the value of any environment variable whose name says it is a secret."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST and SECRET_NAME.search(name):
            text = text.replace(value, "***")
    return text
