"""The description of the package: the README, for a page that has none of the files it links to."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"^\[!\[.*\n\n\*.*\*\n\n", re.MULTILINE)
"""A picture that is a link, with the paragraph in italics below it."""
LINK = re.compile(r"\[([^\]]+)\]\((?!https?://)[^)]*\)")
"""A link to a file of the repository, or to a heading."""


class ReadmeHook(MetadataHookInterface):
    """Fills in `readme`, with relative links as plain text and without the picture."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        described = LINK.sub(r"\1", PICTURE.sub("", text))
        metadata["readme"] = {"content-type": "text/markdown", "text": described}
