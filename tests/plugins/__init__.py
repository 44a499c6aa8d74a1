"""Plugins that several files of tests give to a run."""

from pathlib import Path


def source(name: str) -> str:
    """The text of `tests/plugins/NAME.py`."""
    return (Path(__file__).parent / f"{name}.py").read_text()
