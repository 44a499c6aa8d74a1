"""Which pairs were judged in a folder: the judgements of others are not replaced unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cpt.errors import CptError
from cpt.files import json_text, read_json, write_text

RECORD = "judged.json"
REDO = click.Option(["--redo"], is_flag=True, help="Judge here, where other pairs were judged.")


def claim(folder: Path, source: str, redo: bool) -> None:
    """Say in a folder which pairs are judged there.

    Raises `CptError` if there are judgements of others and nobody asked to `redo` it.
    """
    from cpt.matches.validation import JUDGEMENTS
    from cpt.run.record.inputs import source_digest

    now = {"pairs": source, "digest": source_digest(source, "pairs")}
    before = read_json(folder / RECORD) if (folder / JUDGEMENTS).exists() else None
    if before is not None and not redo and not _is_same(before, now):
        raise CptError(
            f"{folder}: holds judgements of other pairs ({_name(before)}). Choose another "
            "--output, or add --redo to judge these here; answers that were paid for are kept."
        )
    write_text(folder / RECORD, json_text(now) + "\n")


def _is_same(before: Any, now: dict[str, str | None]) -> bool:
    """By their content, or by their name where it is not on this disk."""
    if not isinstance(before, dict):
        return False
    by = "digest" if before.get("digest") and now["digest"] else "pairs"
    return before.get(by) == now[by]


def _name(before: Any) -> str:
    return str(before.get("pairs")) if isinstance(before, dict) else "unknown ones"
