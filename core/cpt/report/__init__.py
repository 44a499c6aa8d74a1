"""The report of a run, `report.html`, made from the files in the folder of the run."""

from __future__ import annotations

from pathlib import Path

REPORT = "report.html"


def write(run: Path) -> Path | None:
    """Write the report of a run into its folder, and return its path.

    None if no stage is done yet. Raises `CptError` if a file of the run is damaged. The same
    folder gives the same bytes.
    """
    from cpt.files import write_text
    from cpt.report.html import render
    from cpt.report.read.run import read_run

    found = read_run(run)
    if found is None:
        return None
    write_text(run / REPORT, render(found))
    return run / REPORT
