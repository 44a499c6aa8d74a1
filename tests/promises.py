"""Promises of the contract kit, as functions that hold or do not."""

from __future__ import annotations

from collections.abc import Callable


def holds(promise: Callable[..., None], *arguments: object) -> bool:
    """Whether a promise is kept; if it is not, a sentence must say so."""
    try:
        promise(*arguments)
    except AssertionError as failure:
        said = str(failure).partition("\n")[0]
        assert said.endswith(".") and " " in said, said
        return False
    except Exception:
        return False
    return True
