"""What all trackers do: a run's curves and scores, sent through accelerate."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import attrs

import cpt

DECIDES = ("prompts", "limit", "pairer", "pairs", "model", "scheduler", "loss", "train", "seed")
"""Options that make a folder's training another one, with curves of its own."""


@attrs.frozen
class Tracker(cpt.Observer):
    """Sends metrics and scores to a tracker.

    A resumed training continues in the same curves. Scores come last, as `scores/MODEL/NAME`.
    """

    package: ClassVar[str]
    """What must be installed."""

    project: str = attrs.field(default="cpt", kw_only=True)
    """Where runs are gathered."""
    run_name: str = attrs.field(default="", kw_only=True)
    """What the run is called; its folder's path if not given."""
    _options: dict[str, Any] = attrs.field(factory=dict, init=False, eq=False, repr=False)
    _opened: dict[Path, Any] = attrs.field(factory=dict, init=False, eq=False, repr=False)

    def check(self) -> None:
        if find_spec(self.package) is None:
            raise cpt.CptError(
                f"--observers {self.name}: the package {self.package} is not installed; "
                f"`pip install {self.package}`."
            )

    @abstractmethod
    def start(self, run: Tracked) -> Any:
        """Accelerate's tracker of a run, not started yet."""

    @cpt.hookimpl
    def cpt_run_started(self, output: Path, options: Mapping[str, Any]) -> None:
        self._options[str(output)] = options

    @cpt.hookimpl
    def cpt_metrics_logged(self, output: Path, step: int, metrics: Mapping[str, float]) -> None:
        self._of(output, step).log(dict(metrics), step=step)

    @cpt.hookimpl
    def cpt_run_ended(self, output: Path, scores: Mapping[str, Mapping[str, cpt.Score]]) -> None:
        values = {
            f"scores/{model}/{name}": score.value
            for model, by_name in scores.items()
            for name, score in by_name.items()
        }
        if values:
            self._of(output, None).log(values, step=_last_step(output))
        if tracker := self._opened.pop(output, None):
            tracker.finish()

    def _of(self, output: Path, step: int | None) -> Any:
        if output not in self._opened:
            self._opened[output] = self._started(output, step)
        return self._opened[output]

    def _started(self, output: Path, step: int | None) -> Any:
        from accelerate import PartialState

        PartialState()  # accelerate's log wants to know the process
        options = self._options.get(str(output), {})
        run = Tracked(output, self.project, self.run_name or str(output), options, step)
        tracker = self.start(run)
        tracker.main_process_only = False  # observers are called on no other
        tracker.start()
        self.describe(tracker, run)
        return tracker

    def describe(self, tracker: Any, run: Tracked) -> None:
        """Give a tracker that has started the options of the run."""
        tracker.store_init_configuration(dict(_flat(run.options)))


@attrs.frozen
class Tracked:
    """A run as a tracker sees it."""

    folder: Path
    project: str
    name: str
    options: Mapping[str, Any]
    step: int | None
    """The first step that comes; None if only scores do."""

    @property
    def key(self) -> str:
        """The same whenever the same training in this folder continues."""
        import hashlib

        decides = {name: self.options.get(name) for name in DECIDES}
        text = json.dumps([str(self.folder.resolve()), decides], sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _last_step(output: Path) -> int:
    """The last step that was logged; 0 where no training is."""
    if not (output / "metrics.jsonl").exists():
        return 0
    return max((line["step"] for line in cpt.open_run(output).metrics), default=0)


def _flat(options: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Options by dotted address, as numbers and text."""
    for name, value in options.items():
        address = f"{above}.{name}" if above else str(name)
        if isinstance(value, Mapping):
            yield from _flat(value, address)
        else:
            yield address, value if isinstance(value, int | float | str) else str(value)
