"""`cpt report` and `cpt gate`: what runs made, side by side, and whether a model may ship."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import attrs
import click

from cpt.cli.printing.comparison import print_comparison
from cpt.cli.printing.output import echo, print_json, takes_json
from cpt.cli.printing.summary import conclude
from cpt.errors import CptError

REFUSED = 1
"""Exit status of `cpt gate` if a condition is not met."""
PAGE = Path("comparison.html")


@takes_json
@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path))
@click.option("--output", metavar="DIR", type=Path, help="The run folder; the same as one RUN.")
@click.option(
    "--page",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    default=PAGE,
    show_default=True,
    help="Where several runs side by side are written to.",
)
def report(runs: Sequence[Path], output: Path | None, page: Path, as_json: bool) -> None:
    """Print what a run made, and write its report again; set several side by side."""
    given = [*([output] if output else []), *runs]
    if not given:
        raise CptError("cpt report: which run? Give its folder; several are set side by side.")
    if len(given) > 1:
        _side_by_side(given, page, as_json)
    else:
        _write_again(given[0], as_json)


def _write_again(path: Path, as_json: bool) -> None:
    from cpt.run.record.folder import Folder
    from cpt.run.results.read import open_run

    folder = Folder(open_run(path).path)
    with folder.held("`cpt report`"):
        conclude(folder, as_json)


def _side_by_side(runs: Sequence[Path], page: Path, as_json: bool) -> None:
    from cpt.report.comparison import publishable, write
    from cpt.run.results.compare import compare

    found = publishable(compare(runs))
    write(page, found)
    if as_json:
        print_json(found.plain())
        return
    print_comparison(found)
    echo(f"{'report':<9} {page}")


@takes_json
@click.command()
@click.argument("run", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--require",
    metavar="CONDITION",
    multiple=True,
    help="A condition: 'win_rate/lc >= 50', or of an end of the interval: 'win_rate/raw.low > 50'.",
)
@click.option(
    "--no-worse",
    metavar="SCORE",
    multiple=True,
    help="A score, or an evaluator for all of its, that must not be worse than before training.",
)
@click.option(
    "--against",
    metavar="RUN",
    type=click.Path(path_type=Path),
    help="Compare with the trained model of another run, not with the one before training.",
)
@click.option(
    "--margin",
    metavar="NUMBER",
    type=click.FloatRange(min=0),
    help="The loss that --no-worse accepts; a larger one must be excluded by the interval.",
)
def gate(
    run: Path,
    require: Sequence[str],
    no_worse: Sequence[str],
    against: Path | None,
    margin: float | None,
    as_json: bool,
) -> None:
    """Exit with status 1 if a trained model does not meet conditions on its scores."""
    from cpt.run.results.gate import checks

    found = checks(run, require=require, no_worse=no_worse, against=against, margin=margin)
    passed = all(check.passed for check in found)
    if as_json:
        print_json({"passed": passed, "checks": [attrs.asdict(check) for check in found]})
    else:
        for check in found:
            echo(f"{'passed' if check.passed else 'failed':<7} {check.condition}: {check.reason}")
    if not passed:
        sys.exit(REFUSED)
