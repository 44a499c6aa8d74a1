"""`cpt export`: pairs in the layout of another trainer."""

from __future__ import annotations

from pathlib import Path

import click

from cpt import paths
from cpt.cli.printing.output import echo, print_json, takes_json
from cpt.errors import BadData
from cpt.files import from_json, json_text, read_text, write_text

LAYOUTS = ("trl", "llama-factory", "ms-swift", "openai", "rewardbench", "argilla", "potato")
INFO = "dataset_info.json"


@takes_json
@click.command()
@click.argument("source", metavar="PAIRS")
@click.option(
    "--format", "layout", type=click.Choice(LAYOUTS), required=True, help="Who will read the file."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The file to write: .jsonl; for trl also .parquet, for argilla .json.",
)
def export(source: str, layout: str, output: Path, as_json: bool) -> None:
    """Write pairs in the layout of another trainer, or of a tool in which people compare answers.

    For llama-factory, dataset_info.json beside the file gets an entry for it.
    """
    from cpt.data import exports, pairs_and_unusable, refuse_to_replace

    source = paths.resolve(source)
    refuse_to_replace(output, source, "pairs")
    if layout == "llama-factory":
        _registered(output.with_name(INFO))  # before anything is written
    done = exports.export(pairs_and_unusable(source), layout, output)
    if layout == "llama-factory":
        _register(output, exports.llama_factory_entry(output))
    if as_json:
        print_json({"pairs": done.pairs, "left_out": done.left_out, "output": str(output)})
        return
    echo(f"{done.pairs} pairs in {output}")
    for why, count in done.left_out.items():
        echo(f"{count:>7} left out: {why}")


def _register(output: Path, entry: dict[str, object]) -> None:
    """Add the file to the list that LLaMA-Factory finds data sets by."""
    file = output.with_name(INFO)
    known = _registered(file)
    write_text(file, json_text({**known, output.stem: entry}, indent=2))


def _registered(file: Path) -> dict[str, object]:
    """The data sets in that list; none if there is no file. Raises `BadData` if it is no list."""
    try:
        known = from_json(read_text(file, "the list of data sets")) if file.exists() else {}
    except ValueError as error:
        raise BadData(f"{file}: no list of data sets ({error}); repair or remove it.") from error
    if not isinstance(known, dict):
        raise BadData(f"{file}: no list of data sets, which is a table; repair or remove it.")
    return known
