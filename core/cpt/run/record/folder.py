"""The run folder: what was made, from which inputs, and whether it may be made again."""

from __future__ import annotations

import copy
import json
import os
import platform
import re
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs

from cpt.config import flatten
from cpt.errors import CptError
from cpt.files import refuse_devices, write_text
from cpt.run.record.code import OWN, SHOWN
from cpt.run.record.inputs import Inputs
from cpt.run.record.lock import LOCK, UNFINISHED, held
from cpt.run.record.shape import fault_of
from cpt.yamls import read_yaml, yaml_text

PACKAGES = (OWN, "torch", "transformers", "accelerate", "datasets")
"""Whose versions `run.yaml` records."""
DIGEST = re.compile(r"[0-9a-f]{32,}")
"""A digest, of which an error shows the first digits."""


@attrs.frozen
class Folder:
    """One run on disk. `run.yaml` says what it is; a stage is done when it says so there."""

    path: Path

    @property
    def record(self) -> dict[str, Any]:
        """What `run.yaml` holds; empty for a new folder. Raises `CptError` if it is damaged."""
        return copy.deepcopy(self._recorded())

    @property
    def options(self) -> dict[str, Any]:
        """The options that the run was made with, by name; empty for a new folder."""
        return dict(self.record.get("options", {}))

    def stage(self, name: str) -> dict[str, Any]:
        """What is recorded of one stage; empty if it never began."""
        return copy.deepcopy(dict(self._recorded().get("stages", {}).get(name, {})))

    def is_done(self, name: str) -> bool:
        return self.stage(name).get("state") == "done"

    def open(self, options: Mapping[str, Any]) -> None:
        """Write the options of this run, those of earlier stages kept. Raises `CptError`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CptError(f"--output {self.path}: cannot be made ({error.strerror}).") from error
        self._refuse_foreign()
        self._write({"stages": {}} | self.record | {"options": dict(options), **_versions()})

    @contextmanager
    def held(self, who: str = "") -> Iterator[None]:
        """Let no other command write here inside the block; see `cpt.run.record.lock.held`.

        Raises `CptError` if another one does, or if something that is not a run is here.
        """
        self._refuse_foreign()
        with held(self.path, who):
            yield

    def differences(self, name: str, inputs: Inputs, leftovers: Sequence[str] = ()) -> list[str]:
        """The recorded inputs of a stage that are not these, as text for an error.

        Only of a stage that is done or left one of `leftovers`, and of the kinds (`options`,
        `code`, `content`) that are in `inputs`. A digest counts where both are known: data may
        have been moved away since.
        """
        stage = self.stage(name)
        if not stage or not (self.is_done(name) or self._has(leftovers)):
            return []
        changed_options = (
            _changed_options(stage["options"], inputs["options"]) if "options" in inputs else ()
        )
        others = (
            f"{kind} of {change}"
            for kind in ("code", "content")
            for change in _changed(stage.get(kind, {}), inputs.get(kind, {}))
        )
        return [*changed_options, *others]

    def check_unchanged(self, name: str, inputs: Inputs, leftovers: Sequence[str] = ()) -> None:
        """Raise `CptError` if there are `differences`."""
        if differences := self.differences(name, inputs, leftovers):
            raise CptError(
                f"{self.path}: stage {name!r} was made with {'; '.join(differences)}. "
                "Choose another --output, go back to what it was made with, or add --redo to make "
                "it again here; answers that were paid for are kept."
            )

    def undo(self, name: str, outputs: Sequence[str]) -> None:
        """Remove what a stage made, and that it is done. It keeps its place among the others."""
        stage = self.stage(name)
        results = ("state", "seconds", "summary")
        inputs = {key: value for key, value in stage.items() if key not in results}
        self._record(name, {"state": "begun", **inputs})
        for output in outputs:
            _remove(self.path / output)

    def begin(self, name: str, inputs: Inputs) -> None:
        """Record that a stage has begun, and its inputs."""
        self._record(name, {"state": "begun", **inputs, **_version()})

    def finish(self, name: str, seconds: float, summary: Mapping[str, Any]) -> None:
        """Record that a stage is done."""
        done = {"state": "done", "seconds": round(seconds, 2), "summary": dict(summary)}
        self._record(name, self.stage(name) | done)

    def forget(self, name: str, leftovers: Sequence[str]) -> None:
        """Let a failed stage start again with other options, unless it left one of `leftovers`."""
        if self._has(leftovers):
            return
        record = self.record
        if list(record["stages"])[-1:] == [name]:
            del record["stages"][name]
        else:  # it keeps its place before the stages that use its result
            record["stages"][name] = {"state": "begun", "options": {}}
        if record["stages"] or self._others({LOCK, "run.yaml"}):
            self._write(record)
        else:
            (self.path / "run.yaml").unlink()

    def _recorded(self) -> dict[str, Any]:
        """As `record`, which others may change."""
        file = self.path / "run.yaml"
        if not file.exists():
            return {}
        refuse_devices(self.path, "a run")
        stat = file.stat()
        return _read(file, (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))

    def _refuse_foreign(self) -> None:
        there = self._others({LOCK})  # first: another command may just be making its record
        if there and not self.record:
            raise CptError(
                f"--output {self.path}: the folder holds something that is not a run; "
                "choose another or empty it."
            )

    def _others(self, names: Set[str]) -> list[str]:
        """What is in the folder, but for these."""
        there = os.listdir(self.path) if self.path.is_dir() else []
        return [name for name in there if name not in names and not UNFINISHED.fullmatch(name)]

    def _has(self, leftovers: Sequence[str]) -> bool:
        return any((self.path / name).exists() for name in leftovers)

    def _record(self, name: str, stage: Mapping[str, Any]) -> None:
        record = self.record
        self._write(record | {"stages": record.get("stages", {}) | {name: dict(stage)}})

    def _write(self, record: Mapping[str, Any]) -> None:
        plain = json.loads(json.dumps(record, default=str))
        write_text(self.path / "run.yaml", yaml_text(plain))


@lru_cache(maxsize=4)
def _read(file: Path, _state: tuple[int, ...]) -> dict[str, Any]:
    """A record, as long as its file is the same: YAML takes long to read."""
    record = read_yaml(file)
    if fault := fault_of(record):
        raise CptError(f"{file}: not the record of a run ({fault}); choose another --output.")
    whole: dict[str, Any] = record
    return whole


def _changed_options(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[str]:
    """`loss.beta 0.1, not 0.2` for every option that is not what it was.

    The options of a component that is another one are left out.
    """
    plain = json.loads(json.dumps(dict(current), default=str))
    before, after = dict(flatten(recorded)), dict(flatten(plain))
    addresses = dict.fromkeys([*before, *after])
    changed = [
        address for address in addresses if _given(before, address) != _given(after, address)
    ]
    for address in changed:
        if not any(address.startswith(f"{other}.") for other in changed):
            yield f"{address} {before.get(address)}, not {after.get(address)}"


def _given(options: Mapping[str, Any], address: str) -> Any:
    """The value of an option; an empty list is none, as in a record of before there was one."""
    value = options.get(address)
    return None if value == [] else value


def _changed(recorded: Mapping[str, str], current: Mapping[str, str]) -> Iterator[str]:
    """`loss my_loss.py 3f2a, not my_loss.py 81bc` for what is known of both and not equal."""
    changes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for address, before in recorded.items():
        if current.get(address, before) != before:
            changes[before, current[address]].append(address)
    for (before, after), addresses in changes.items():
        yield f"{', '.join(addresses)} {_short(before)}, not {_short(after)}"


def _short(text: str) -> str:
    return text[:SHOWN] if DIGEST.fullmatch(text) else text


def _remove(path: Path) -> None:
    """Remove a file or a folder: whole, or not at all."""
    if path.is_dir() and not path.is_symlink():
        gone = path.with_name(f".{path.name}.gone")
        if gone.exists():
            shutil.rmtree(gone)
        path.rename(gone)
        shutil.rmtree(gone)
    else:
        path.unlink(missing_ok=True)


def _version() -> dict[str, str]:
    """Which cpt this is, if it is installed."""
    try:
        return {"cpt": version(OWN)}
    except PackageNotFoundError:
        return {}


def _versions() -> dict[str, Any]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"versions": found, "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
