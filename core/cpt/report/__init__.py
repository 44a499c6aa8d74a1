"""What a person looks at: one page about a run, made of nothing but its folder."""

from __future__ import annotations

import logging
from pathlib import Path

PAGE = "report.html"


def write(run: Path) -> Path | None:
    """Write the page of a run into its folder, and return where it is.

    None if no stage was done yet. Raises `CptError` if a file of the run is damaged. The same
    folder gives the same bytes.
    """
    # It says how long it looks for fonts, and where it keeps them: no reader's concern.
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from cpt.files import write_text
    from cpt.report.page import render
    from cpt.report.read.run import gather

    found = gather(run)
    if found is None:
        return None
    write_text(run / PAGE, render(found))
    return run / PAGE
