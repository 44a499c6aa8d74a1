"""What time it is where a response comes from: the clock of this machine may be wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime


def now_of(headers: Mapping[str, str]) -> float:
    """Seconds since 1970 by the header Date; by our own clock where there is none."""
    try:
        return seconds_of(headers["date"])
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return time.time()


def seconds_of(date: str) -> float:
    """An HTTP date in seconds since 1970. Raises `ValueError` and its like for any other text."""
    return parsedate_to_datetime(date).timestamp()
