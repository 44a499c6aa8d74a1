"""Asking models: every answer paid for once, through any failure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpt.asking.engine import Asker
    from cpt.asking.ordered import in_order

__all__ = ["Asker", "in_order"]


def __getattr__(name: str) -> Any:
    # `cpt --help` reads the options in this package, and has no use for an event loop.
    if name == "Asker":
        from cpt.asking.engine import Asker

        return Asker
    if name == "in_order":
        from cpt.asking.ordered import in_order

        return in_order
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
