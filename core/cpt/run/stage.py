"""What a stage of the pipeline is, and what it is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from cpt.config import Config
from cpt.errors import CptError
from cpt.plugins.registry import Registry
from cpt.run.events import Events
from cpt.run.record.folder import Folder
from cpt.run.record.inputs import (
    Inputs,
    code,
    content_digests,
    identity,
    known,
    paths_in,
    paths_inside,
    source_digest,
    table_of,
)

Summary = Mapping[str, Any]

NEEDED = {
    "prompts": "what should be asked?",
    "responder": "who should answer?",
    "pairer": "how should pairs be made?",
    "model": "what should be trained?",
    "eval_prompts": "what should the evaluated models be asked?",
    "generator": "how should the evaluated models answer?",
}
"""Options that a stage may be unable to do without, each as the question that it answers."""


@attrs.frozen
class Run:
    """What every stage is given."""

    config: Config
    folder: Folder
    registry: Registry
    events: Events
    redo: bool = False
    """Whether a stage whose inputs have changed is made again instead of being refused."""
    shared_journal: Path | None = None
    """The journal of the run that this one is a part of; it has one of its own without."""

    @property
    def path(self) -> Path:
        return self.folder.path

    @property
    def journal(self) -> Path:
        """Where its answers are kept."""
        return self.shared_journal or self.path / "journal.sqlite"


def _nothing(_: Run) -> dict[str, str | None]:
    return {}


@attrs.frozen(kw_only=True)
class Stage:
    """One step of the pipeline: a function from a run to a summary, and what decides its result."""

    name: str
    title: str
    """What it does, as the report says it: `training`."""
    options: tuple[str, ...]
    """The fields of `Config` that decide its result."""
    work: Callable[[Run], Summary]
    """Does it: reads the run folder, writes the artefacts, returns counts for `run.yaml`."""
    sources: Mapping[str, str] = {}
    """Those of `options` that name data, each with the table to read if it is a run folder."""
    upstream: Callable[[Run], Mapping[str, str | None]] = _nothing
    """Digests of the artefacts of earlier stages that it reads, None where there are none yet."""
    ready: Callable[[Run], object] = _nothing
    """Raises `CptError` if something that it needs is missing; called before any stage begins."""
    unchecked: frozenset[str] = frozenset()
    """Those of `options` whose components the stage itself completes: their `check` must wait."""
    outputs: tuple[str, ...] = ()
    """Files and folders that it writes; they are removed if it is made again."""
    leftovers: tuple[str, ...] = ()
    """What an interrupted stage leaves; only the same options may continue from there."""
    collective: bool = False
    """Whether all processes of a multi-process run take part, not the main one alone."""
    has_runs: bool = False
    """Whether it consists of runs of their own (the controls), each with its own record."""

    def inputs(self, run: Run) -> Inputs:
        """Everything that decides its result, as plain data."""
        values = {name: getattr(run.config, name) for name in self.options}
        return {
            "options": {name: identity(value) for name, value in values.items()},
            "code": code(values),
            "content": self.content_digests(run),
        }

    def content_digests(self, run: Run) -> dict[str, str]:
        """Digests of the data, files, models and earlier artefacts that decide its result."""
        files = content_digests(self._paths(run))
        return files | self.data_digests(run) | known(self.upstream(run))

    def data_digests(self, run: Run) -> dict[str, str]:
        """Those of the data alone."""
        return known({name: source_digest(*source) for name, source in self._data(run).items()})

    def read_digests(self, run: Run) -> dict[str, tuple[str, str]]:
        """What each option that names data, a file or a model says, and the digest of that."""
        paths = self._paths(run)
        named = paths | {name: source for name, (source, _) in self._data(run).items()}
        digests = content_digests(paths) | self.data_digests(run)
        return {address: (named[address], digest) for address, digest in digests.items()}

    def options_inside(self, run: Run, places: Sequence[Path]) -> list[str]:
        """The addresses of options that name one of these files and folders, or what is in one."""
        tables = {name: str(table_of(*source)) for name, source in self._data(run).items()}
        return list(paths_inside(self._paths(run) | tables, places))

    def to_check(self, run: Run) -> list[Any]:
        """The values of the options whose components can be checked before it begins."""
        return [getattr(run.config, name) for name in self.options if name not in self.unchecked]

    def _data(self, run: Run) -> dict[str, tuple[str, str]]:
        given = ((name, getattr(run.config, name)) for name in self.sources)
        return {name: (source, self.sources[name]) for name, source in given if source}

    def _paths(self, run: Run) -> dict[str, str]:
        others = set(self.options) - set(self.sources) - self.unchecked
        return dict(paths_in(run.config, others))


def is_main() -> bool:
    """Whether this is the process that writes, of all that a launcher started."""
    return os.environ.get("RANK", "0") == "0"


def require_option(run: Run, field: str) -> Any:
    """An option that a stage cannot do without. Raises `CptError` that names its flag."""
    value = getattr(run.config, field)
    if value is None:
        raise CptError(f"--{field.replace('_', '-')} must be given: {NEEDED[field]}")
    return value
