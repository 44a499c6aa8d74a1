"""Markdown for the site, where it is read otherwise than elsewhere.

Fences say what the tests do with them (`bash run`, `file=NAME`), and code in a table has a
backslash before each vertical bar.
"""

from __future__ import annotations

import re
from typing import Any

from markdown import Extension, Markdown
from markdown.preprocessors import Preprocessor

RUN = re.compile(r"^```(\w+) run$")
FILE = re.compile(r"^```(\w+) file=(\S+)$")
CODE = re.compile(r"`[^`]*`")
BEFORE_FENCES = 100
"""A priority above that of the extension that reads fences."""


class _Plain(Preprocessor):
    def run(self, lines: list[str]) -> list[str]:
        return [_plain(line) for line in lines]


def _plain(line: str) -> str:
    if line.startswith("|"):
        return CODE.sub(lambda code: code[0].replace(r"\|", "|"), line)
    return FILE.sub(r'```\1 title="\2"', RUN.sub(r"```\1", line))


class Fences(Extension):
    """Takes what only the tests read off the fences; the name of a file becomes its title."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(_Plain(md), "fences", BEFORE_FENCES)


def makeExtension(**options: Any) -> Extension:
    """What Markdown calls."""
    return Fences(**options)
