"""Where the rounds of a run are."""

from __future__ import annotations

from pathlib import Path

ROUNDS = "rounds"


def path_of(run: Path, number: int) -> Path:
    """The run folder of one round, from 1."""
    return run / ROUNDS / str(number)


def rounds_in(run: Path) -> list[Path]:
    """The folders of the rounds that began, in order."""
    found = (path for path in (run / ROUNDS).glob("*") if (path / "run.yaml").exists())
    return sorted(found, key=lambda path: (len(path.name), path.name))


def round_of(run: Path) -> str:
    """The number of the round that a run folder is, or no text; a control is in its round."""
    return next(
        (
            path.name
            for path in (run, run.parent.parent)
            if path.parent.name == ROUNDS and path.name.isdecimal()
        ),
        "",
    )
