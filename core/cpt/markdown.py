"""Values in Markdown: shown as they are, whatever they say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from cpt.errors import shortened


def literal(value: Any) -> str:
    """Any text as Markdown that shows it and does nothing else, in a sentence or a table."""
    if value is None or isinstance(value, int | float):
        return str(value)
    text = shortened(str(value)).replace("|", "\\|")
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if "`" in (text[:1], text[-1:]) or not text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def table(values: Mapping[str, Any]) -> str:
    """Names and values in two columns."""
    rows = [f"| {literal(name)} | {literal(value)} |" for name, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows])
