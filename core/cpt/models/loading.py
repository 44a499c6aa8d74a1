"""What whoever loads a model from its folder needs."""

from __future__ import annotations

from pathlib import Path

from cpt.errors import CptError


def refuse_own_code(folder: Path, error: Exception) -> None:
    """Raise `CptError` if `error` says that a model needs code of its own, which is not run."""
    if "trust_remote_code" in str(error):
        raise CptError(
            f"{folder}: this model needs Python code of its own, which is not run unless the "
            "option trust_remote_code says so (--train.trust-remote-code in training); read the "
            "code in its folder first."
        ) from error


def hide_bars() -> None:
    """Keep the bars of transformers, for loading and writing weights, off the terminal."""
    from transformers.utils import logging

    logging.disable_progress_bar()
