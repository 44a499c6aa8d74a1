"""How the stages of a run reach the response engine."""

from __future__ import annotations

from cpt.asking import Asker
from cpt.run.stage import Run


def asker(run: Run, stage: str, total: int | None = None) -> Asker:
    """The engine over this run's journal, asking for a stage; `total` prompts, if known."""
    return Asker(run.journal, options=run.config.asking, stage=stage, total=total)
