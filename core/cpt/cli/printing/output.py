"""What every command writes alike: results as JSON, and counts and metrics in one line."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import Any, TextIO

import click

from cpt.errors import printable, shortened
from cpt.files import json_text

MOST_NAMED = 3
LONGEST_NAME = 100
SHOWN = {
    "loss": "loss",
    "rewards/accuracies": "accuracy",
    "rewards/margins": "margin",
    "tokens_per_second": "tokens/s",
    "mfu": "MFU",
}
"""Metrics that a line has room for, besides those of the loss itself."""
SAME_FOR_EVERY_LOSS = ("logps/", "logratios/", "rewards/", "share/")


def left_to_ask(left: int, rejected: str = "", how: str = "") -> str:
    """What to do about requests without an answer, which may all have been `rejected`."""
    if rejected:
        return f"all {left} requests were rejected ({rejected}). Fix what it names and run again."
    return f"{left} requests have no answer yet; the same command{how} continues."


def json_option() -> click.Option:
    """`--json`, with which standard output holds the result and nothing else."""
    return click.Option(
        ["--json", "as_json"], is_flag=True, callback=_reserve, help="Print the result as JSON."
    )


def takes_json(command: click.Command) -> click.Command:
    """Give a command `--json`."""
    command.params.insert(0, json_option())
    return command


def echo(line: str, err: bool = False) -> None:
    """Print one line, with what a terminal would obey made visible."""
    click.echo(printable(line), err=err)


def echo_lines(text: str) -> None:
    """Print each line of a text that is known to have several."""
    for line in text.split("\n"):
        echo(line)


def make_warnings_printable() -> None:
    """Let what is logged, and nobody else prints, be printed as `echo` prints lines.

    It is without keys, which the error of a plugin may hold.
    """
    import logging  # slow to import

    from cpt.secrets import scrub

    class Printable(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return "\n".join(printable(line) for line in scrub(super().format(record)).splitlines())

    if logging.lastResort:
        logging.lastResort.setFormatter(Printable())


def print_json(result: Any, indent: int | None = None) -> None:
    """Print the result of a command that was given `--json`."""
    click.echo(json_text(result, indent), file=click.get_current_context().meta["result"])


def _reserve(ctx: click.Context, _: click.Parameter, as_json: bool) -> bool:
    if as_json:
        ctx.meta["result"] = ctx.with_resource(_standard_output_for_the_result())
    return as_json


@contextmanager
def _standard_output_for_the_result() -> Iterator[TextIO]:
    """Give standard output to the result; what else is printed goes to standard error.

    That holds for plugins, libraries and the processes that they start.
    """
    stdout = sys.stdout
    try:
        descriptor, other = stdout.fileno(), sys.stderr.fileno()
    except OSError:  # they are no files, as in a test of click
        with redirect_stdout(sys.stderr):
            yield stdout
        return
    stdout.flush()
    with os.fdopen(os.dup(descriptor), "w", encoding="utf-8") as result:
        os.dup2(other, descriptor)
        try:
            yield result
        finally:
            stdout.flush()
            os.dup2(result.fileno(), descriptor)


def summed_up(summary: Mapping[str, Any]) -> str:
    """A stage's summary in one line: counts, with the reasons behind a count in brackets."""
    counts = ", ".join(
        f"{name} {_short(value)}" for name, value in summary.items() if name != "metrics"
    )
    return "; ".join(filter(None, (counts, in_short(summary.get("metrics", {})))))


def in_short(metrics: Mapping[str, float]) -> str:
    """The metrics that a line has room for, and those of the loss itself (`LOSS/NAME`)."""
    own = {name: name for name in metrics if "/" in name and not _is_ours(name)}
    shown = {name: label for name, label in (SHOWN | own).items() if name in metrics}
    return "  ".join(f"{label} {_short(metrics[name])}" for name, label in shown.items())


def _is_ours(name: str) -> bool:
    return name.startswith(SAME_FOR_EVERY_LOSS)


def first_of(names: Sequence[str]) -> str:
    """A few of many names."""
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"{', '.join(shortened(name, LONGEST_NAME) for name in names[:MOST_NAMED])}{more}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{name} {_short(count)}" for name, count in value.items())
        return f"({inner})" if inner else "none"
    if value is None:
        return "unknown"
    if isinstance(value, tuple):
        return first_of(value) or "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
