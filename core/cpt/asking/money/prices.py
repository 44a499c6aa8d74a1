"""What an answer costs, as far as that is known."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from importlib.resources import as_file, files
from math import inf
from pathlib import Path
from typing import Any

import attrs

from cpt.errors import CptError
from cpt.roles import Responder, Service
from cpt.service.batch import BatchService
from cpt.service.http.urls import place_of
from cpt.types import Usage
from cpt.yamls import read_yaml

MILLION = 1_000_000
ANY = "*"
"""A host or a model in a table: any that has no line of its own."""
_DATED = re.compile(r"-\d{4}-?\d{2}-?\d{2}$")


def _dollars(_: object, field: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < inf:
        raise ValueError(f"{field.name}: expected dollars per million tokens, got {value!r}")


_known = attrs.validators.optional(_dollars)


@attrs.frozen(kw_only=True)
class Price:
    """Dollars per million tokens of one model."""

    input: float = attrs.field(validator=_dollars)
    output: float = attrs.field(validator=_dollars)
    cached: float | None = attrs.field(default=None, validator=_known)
    """Of input that the provider had cached; that of `input` where there is none."""
    batch_input: float | None = attrs.field(default=None, validator=_known)
    """Of the provider's batch endpoint; unknown where there is none."""
    batch_output: float | None = attrs.field(default=None, validator=_known)
    date: datetime.date | None = None
    """When the provider's price was last looked up."""

    def cost(self, usage: Usage, *, batch: bool = False) -> float | None:
        """Dollars for these tokens, None where that is unknown."""
        if not batch:
            cached = self.input if self.cached is None else self.cached
            fresh = usage.input_tokens - usage.cached_tokens
            paid = fresh * self.input + usage.cached_tokens * cached
            return (paid + usage.output_tokens * self.output) / MILLION
        if self.batch_input is None or self.batch_output is None:
            return None
        # Some providers take the cache's discount off a batch too: this is the most it can be.
        paid = usage.input_tokens * self.batch_input + usage.output_tokens * self.batch_output
        return paid / MILLION


@attrs.frozen
class Prices:
    """A price table: host that bills, model, price."""

    table: Mapping[str, Mapping[str, Price]]

    @classmethod
    def load(cls, path: Path | None = None) -> Prices:
        """The bundled table, the user's own lines over it. Raises `CptError` if those are bad."""
        with as_file(files("cpt.asking.money").joinpath("prices.yaml")) as bundled:
            table = _table(read_yaml(bundled))
        own = {} if path is None else _own_prices(path)
        hosts = {*table, *own}
        return cls({host: {**table.get(host, {}), **own.get(host, {})} for host in hosts})

    def of(self, responder: Service) -> Price | None:
        """The price of what a service answers, None where it is unknown."""
        host, name = place_of(responder.endpoint.partition(" ")[0]), responder.author
        for lines in (self.table.get(host, {}), self.table.get(ANY, {})):
            for model in (name, _DATED.sub("", name), ANY):
                if model in lines:
                    return lines[model]
        return None

    def cost(self, responder: Responder, usage: Usage, *, batch: bool = False) -> float | None:
        """Dollars for one answer: nothing in this process, None where the price is unknown.

        A service without a batch endpoint is asked, and paid, one by one, whatever `batch` says.
        """
        if not isinstance(responder, Service):
            return 0.0
        batch = batch and isinstance(responder, BatchService)
        price = self.of(responder)
        # Every request takes tokens: if none are reported, their number is unknown.
        reported = usage.input_tokens or usage.output_tokens
        return price.cost(usage, batch=batch) if price and reported else None


def _own_prices(path: Path) -> dict[str, dict[str, Price]]:
    try:
        return _table(read_yaml(path) or {})
    except _BadPrice as bad:
        raise CptError(f"{path}: {bad}") from bad


class _BadPrice(Exception):
    pass


def _table(raw: Any) -> dict[str, dict[str, Price]]:
    if not isinstance(raw, Mapping) or not all(
        isinstance(lines, Mapping) for lines in raw.values()
    ):
        raise _BadPrice("a price table is written HOST: {MODEL: {input: ..., output: ...}}")
    return {
        ANY if host == ANY else place_of(str(host)): {
            str(model): _price(f"{host}: {model}", line) for model, line in lines.items()
        }
        for host, lines in raw.items()
    }


def _price(where: str, line: Any) -> Price:
    if not isinstance(line, Mapping):
        raise _BadPrice(f"{where}: expected {{input: ..., output: ...}}, got {line!r}")
    try:
        return Price(**line)
    except (TypeError, ValueError) as error:
        raise _BadPrice(f"{where}: {str(error).removeprefix('Price.__init__() ')}") from error
