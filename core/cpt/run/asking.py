"""How the stages of a run reach the response engine."""

from __future__ import annotations

from cpt.asking import Asker
from cpt.run.stages import Run


def asker(run: Run, total: int | None = None) -> Asker:
    """The engine over this run's journal; `total` prompts are expected, if known."""
    return Asker(run.path / "journal.sqlite", options=run.config.asking, total=total)
