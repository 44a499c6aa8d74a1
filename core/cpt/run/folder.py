"""The run folder: what was made, from which options, and whether it may be made again."""

from __future__ import annotations

import hashlib
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs
import yaml

from cpt.config import flatten
from cpt.errors import CptError
from cpt.files import write_text
from cpt.yamls import read_yaml

PACKAGES = ("contrastive-post-training", "torch", "transformers", "accelerate", "datasets")


@attrs.frozen
class Folder:
    """One run on disk. `run.yaml` says what it is; a stage is done when it says so there."""

    path: Path

    @property
    def record(self) -> dict[str, Any]:
        """What `run.yaml` holds; empty for a new folder. Raises `CptError` if it is damaged."""
        file = self.path / "run.yaml"
        if not file.exists():
            return {}
        record = read_yaml(file)
        if not isinstance(record, dict) or not _is_whole(record):
            raise CptError(f"{file}: not the record of a run; choose another --output.")
        return record

    @property
    def options(self) -> dict[str, Any]:
        """The options that the run was made with, by name; empty for a new folder."""
        return dict(self.record.get("options", {}))

    def stage(self, name: str) -> dict[str, Any]:
        """What is recorded of one stage; empty if it never began."""
        return dict(self.record.get("stages", {}).get(name, {}))

    def is_done(self, name: str) -> bool:
        return self.stage(name).get("state") == "done"

    def open(self, options: Mapping[str, Any]) -> None:
        """Write the options of this run, those of earlier stages kept. Raises `CptError`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CptError(f"--output {self.path}: cannot be made ({error.strerror}).") from error
        record = self.record
        if not record and any(self.path.iterdir()):
            raise CptError(
                f"--output {self.path}: the folder holds something that is not a run; "
                "choose another or empty it."
            )
        self._write({"stages": {}} | record | {"options": dict(options), **_versions()})

    def refuse_other(
        self, name: str, options: Mapping[str, Any], traces: Sequence[str] = ()
    ) -> None:
        """Raise `CptError` if a stage was made with other options, or left one of `traces`."""
        stage = self.stage(name)
        if not self.is_done(name) and not self._has(traces):
            return
        if stage and (differs := list(_differences(stage["options"], options))):
            raise CptError(
                f"{self.path}: stage {name!r} was made with {'; '.join(differs)}. "
                "Choose another --output, or the options it was made with."
            )

    def begin(self, name: str, options: Mapping[str, Any]) -> None:
        self._record(name, {"state": "begun", "options": dict(options)})

    def finish(self, name: str, seconds: float, summary: Mapping[str, Any]) -> None:
        done = {"state": "done", "seconds": round(seconds, 2), "summary": dict(summary)}
        self._record(name, self.stage(name) | done)

    def forget(self, name: str, traces: Sequence[str]) -> None:
        """Let a stage that failed begin anew with other options, unless it left one of `traces`."""
        if self._has(traces):
            return
        record = self.record
        record["stages"].pop(name, None)
        if not record["stages"] and len(list(self.path.iterdir())) == 1:
            (self.path / "run.yaml").unlink()
            self.path.rmdir()
        else:
            self._write(record)

    def _has(self, traces: Sequence[str]) -> bool:
        return any((self.path / trace).exists() for trace in traces)

    def _record(self, name: str, stage: Mapping[str, Any]) -> None:
        record = self.record
        self._write(record | {"stages": record.get("stages", {}) | {name: dict(stage)}})

    def _write(self, record: Mapping[str, Any]) -> None:
        plain = json.loads(json.dumps(record, default=str))
        write_text(self.path / "run.yaml", yaml.safe_dump(plain, sort_keys=False))


def digest_of(path: Path) -> str:
    """The content of a file, or of all files of a folder, as 32 hexadecimal digits."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    state = hashlib.blake2b(digest_size=16)
    for file in files:
        state.update(str(file.relative_to(path.parent)).encode())
        with file.open("rb") as content:
            state.update(hashlib.file_digest(content, "blake2b").digest())
    return state.hexdigest()


def _is_whole(record: Mapping[str, Any]) -> bool:
    """Whether there are options, and stages with theirs."""
    stages = record.get("stages")
    each = list(stages.values()) if isinstance(stages, dict) else [None]
    return isinstance(record.get("options"), dict) and all(
        isinstance(stage, dict) and "options" in stage for stage in each
    )


def _differences(made: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """`loss.beta 0.1, not 0.2` for every option that is not what it was."""
    plain = json.loads(json.dumps(dict(now), default=str))
    before, after = dict(flatten(made)), dict(flatten(plain))
    for address in dict.fromkeys([*before, *after]):
        if before.get(address) != after.get(address):
            yield f"{address} {before.get(address)}, not {after.get(address)}"


def _versions() -> dict[str, Any]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"versions": found, "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
