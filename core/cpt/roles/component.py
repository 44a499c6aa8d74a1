"""What every component is, and the marks of its options."""

from __future__ import annotations

from abc import ABC
from typing import Any, ClassVar

import attrs

NOT_IDENTITY: dict[str, Any] = {"identity": False}
"""Metadata of a field that changes how an answer is fetched, never what it says."""
PATH: dict[str, Any] = {"path": True}
"""Metadata of a text field that names a file or folder on this disk, or a model of the hub.

A run records the content of what it names (of `FILE#AUTHOR` and `FILE.py:FUNCTION`, that of the
file), and refuses to continue with another. Both marks: `metadata=NOT_IDENTITY | PATH`.
"""


@attrs.frozen
class Component(ABC):
    """A named part of a run whose attrs fields are its options.

    The fields are the one source of the Python constructor, the YAML keys and the command-line
    flags; the string under a field is its help; the first line of the docstring describes the
    component.
    """

    role: ClassVar[str]
    name: ClassVar[str]
    known_as: ClassVar[tuple[str, ...]] = ()
    """Its names in other tools: who asks for one of them is told the `name`."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        options = {name for base in cls.__mro__[1:] for name in getattr(base, "__slots__", ())}
        for name in sorted(options & vars(cls).keys() - cls.__annotations__.keys()):
            # attrs drops such a value without a word.
            if not hasattr(vars(cls)[name], "__get__"):
                raise TypeError(
                    f"{cls.__module__}.{cls.__qualname__}: `{name}` has no type, so the option "
                    f"keeps its default; write `{name}: TYPE = ...`"
                )

    def check(self) -> None:  # noqa: B027
        """Raise `CptError` if this cannot work here (a missing key, a missing file).

        Called before anything is asked, loaded or written.
        """
