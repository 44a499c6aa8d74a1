"""Reading what a run made, without running anything: `cpt.open_run(DIR)`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs

from cpt import data
from cpt.data import read_rows
from cpt.errors import BadData, CptError
from cpt.files import read_lines
from cpt.run.record.folder import Folder
from cpt.run.results.scores import Scores, read_scores
from cpt.types import Pair, Prompt, Response

T = TypeVar("T")


def open_run(path: str | Path) -> RunReader:
    """Open the folder of a run for reading. Raises `CptError` if no run is there."""
    reader = RunReader(Path(path))
    if not Folder(reader.path).record:
        raise CptError(f"{path}: there is no run in this folder; name the --output of one.")
    return reader


@attrs.frozen
class Records(Generic[T]):
    """The records of one file; each loop reads it from the beginning, one record at a time.

    A loop raises `BadData` if the file is not there or is damaged.
    """

    path: Path
    _read: Callable[[Path], Iterable[T]] = attrs.field(repr=False)
    _command: str = attrs.field(repr=False)

    def __iter__(self) -> Iterator[T]:
        _require(self.path, self._command)
        yield from self._read(self.path)


@attrs.frozen
class RunReader:
    """What is in the folder of a run, read when it is asked for.

    A run in progress may be read: every table is whole or not there.
    """

    path: Path

    @property
    def options(self) -> dict[str, Any]:
        """The options of the last command, as plain data."""
        return Folder(self.path).options

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """Each stage that began: its `state` (`begun`, `done`), `summary`, `seconds`, inputs."""
        return dict(Folder(self.path).record.get("stages", {}))

    @property
    def prompts(self) -> Records[Prompt]:
        """The prompts, in order."""
        return self._records("prompts.parquet", data.read_prompts, "cpt pair")

    @property
    def pairs(self) -> Records[Pair]:
        """The pairs, in the order of their prompts; those have no `info` here."""
        return self._records("pairs.parquet", data.each_pair, "cpt pair")

    @property
    def responses(self) -> Records[tuple[Prompt, Response]]:
        """What `cpt respond` was answered, each with its prompt."""
        return self._records("responses.parquet", data.read_responses, "cpt respond")

    @property
    def outcomes(self) -> Records[dict[str, Any]]:
        """What became of each prompt: `prompt_id`, `outcome`, `pairs`, `detail`, `dropped`."""
        return self._records("outcomes.jsonl", read_lines, "cpt pair")

    @property
    def metrics(self) -> Records[dict[str, Any]]:
        """The metrics of training, one dict a line."""
        return self._records("metrics.jsonl", read_lines, "cpt train")

    @property
    def order(self) -> Records[dict[str, Any]]:
        """Which pair was trained on at which step."""
        return self._records("order.parquet", _rows, "cpt train")

    @property
    def scores(self) -> Scores:
        """Every score, by model and name: `scores["after"]["judged/greedy"].value`."""
        path = self.path / "scores.json"
        _require(path, "cpt eval")
        return read_scores(path)

    def _records(self, name: str, read: Callable[[Path], Iterable[T]], command: str) -> Records[T]:
        return Records(self.path / name, read, command)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    return (dict(row.values) for row in read_rows(path))


def _require(path: Path, command: str) -> None:
    if not path.exists():
        raise BadData(f"{path}: not there; `{command}` writes it.")
