"""One row of a source: its values, and the place that they come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from cpt.errors import BadData, Media, shortened
from cpt.files import Refused, from_json


def short(value: Any, most: int = 60) -> str:
    """A value as an error shows it."""
    return shortened(repr(value), most)


@attrs.frozen
class Row:
    """One row of a source."""

    values: Mapping[str, Any]
    where: str
    """Its file and line, for a person to look at."""
    number: int = 0
    """Its place in the whole source; the first is 1."""

    def __getitem__(self, column: str) -> Any:
        """The value of a column; None if it is empty or not there."""
        value = self.values.get(column)
        return None if value == "" else value

    def first(self, *columns: str) -> Any:
        """The value of the first of these columns that has one."""
        return next((self[name] for name in columns if self[name] is not None), None)

    def number_of(self, *columns: str) -> float | None:
        """The first of these columns that has a value, as a number; NaN is no value."""
        value = self.first(*columns)
        try:
            number = None if value is None else float(value)
        except (TypeError, ValueError, OverflowError):
            raise self.bad(f"{columns[0]} is {short(value)}, not a number") from None
        return None if number is None or number != number else number

    def finite_of(self, *columns: str) -> float | None:
        """The same, where infinity is no number either."""
        number = self.number_of(*columns)
        if number is not None and abs(number) == float("inf"):
            raise self.bad(f"{columns[0]} must be a finite number, got {number}")
        return number

    def whole_of(self, column: str) -> int | None:
        """The same of a column that counts. Raises `BadData` if it is not a whole number."""
        number = self.number_of(column)
        if number is not None and (number % 1 or abs(number) >= 2**63):  # nor is infinity whole
            raise self.bad(f"{column} is {short(self[column])}, not a whole number of 64 bits")
        return None if number is None else int(number)

    def info(self, *used: str) -> dict[str, Any]:
        """The columns not in `used`, those inside a mapping called `info` among them."""
        inner = self._mapping("info")
        others = used if inner is None else (*used, "info")
        rest = {name: value for name, value in self.values.items() if name not in others}
        return {name: value for name, value in rest.items() if value is not None} | (inner or {})

    def unpacked(self, column: str) -> dict[str, Any]:
        """What a column says that holds a mapping, or one as JSON; empty for anything else."""
        return self._mapping(column) or {}

    def _mapping(self, column: str) -> dict[str, Any] | None:
        """A mapping, or one as JSON; None for anything else."""
        value = self[column]
        if isinstance(value, str) and value.startswith("{"):
            try:
                value = from_json(value)
            except Refused as error:
                raise self.bad(f"{column}: {error}") from None
            except ValueError:
                return None
        return dict(value) if isinstance(value, Mapping) else None

    def lacks(self, expected: str, *columns: str) -> str:
        """Why none of these columns has a value: one is empty, or none is what was expected."""
        empty = next((name for name in columns if name in self.values), None)
        there = ", ".join(self.values) or "none"
        return f"its {empty} is empty" if empty else f"expected {expected}, found {there}"

    def media(self, why: str) -> Media:
        """The error to raise if this row holds what is no text."""
        return Media(f"{self.where}: {why}; leave this row out.")

    def bad(self, why: str) -> BadData:
        """The error to raise if this row is wrong."""
        return BadData(f"{self.where}: {why}.")
