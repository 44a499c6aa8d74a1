"""The report of a run: one HTML file that needs nothing else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cpt.report import figures, formatting, sentences
from cpt.report.read.run import RunData

TEMPLATES = Path(__file__).with_name("templates")
FILTERS = (
    formatting.at_a_glance,
    formatting.counted,
    formatting.one_of,
    formatting.digits,
    formatting.dollars,
    formatting.duration,
    formatting.share,
    formatting.signed,
    formatting.with_interval,
    sentences.about_agreement,
    sentences.about_missing,
    sentences.about_scores,
    sentences.about_training,
    sentences.last_metrics,
    sentences.steps,
    figures.score_figure,
    figures.pair_figures,
    figures.training_figures,
)
"""What the templates call to turn data into text and plots."""


def render(run: RunData) -> str:
    """The report of a run, as HTML."""
    script = (TEMPLATES / "browser.js").read_text(encoding="utf-8")
    template = environment().get_template("report.html")
    return template.render(run=run, script=script, script_digest=_digest(script))


@cache  # with the templates that it has compiled
def environment(*more: Callable[..., Any]) -> Environment:
    """What fills templates in: it escapes everything, and has `FILTERS` and `more` by name."""
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        finalize=_printable,
        lstrip_blocks=True,
        trim_blocks=True,
        undefined=StrictUndefined,
    )
    made.filters.update({function.__name__: function for function in (*FILTERS, *more)})
    return made


def _digest(script: str) -> str:
    """What the page's security policy calls the one script that may run."""
    return b64encode(sha256(script.encode()).digest()).decode()


def _printable(value: Any) -> Any:
    """What the report writes for a value. Markup, which is a subclass of `str`, stays as it is."""
    return formatting.printable(value) if type(value) is str else value
