"""A command of a run: its flags depend on its own line, and it describes a run or its folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click

from cpt import config
from cpt.cli.flags import Flag, FlagBuilder, given
from cpt.cli.printing.progress import TrainingProgress, keep_quiet
from cpt.config import Addresses, Config, Layer
from cpt.errors import CptError, UnknownComponent
from cpt.plugins.registry import Registry

if TYPE_CHECKING:
    from cpt.run.record.folder import Folder
    from cpt.run.stage import Run

COMMAND_LINE = "the command line"
OWN = (
    "output",
    "config",
    "json",
    "help",
    "dry_run",
    "redo",
    "status",
    "why",
    "push_to_hub",
    "public",
)
"""Options of commands, which are no options of a run."""
ONCE = ("asking.again",)
"""Options of a run that count for one command: they are not taken from the record."""
DRY_RUN = click.Option(
    ["--dry-run"], is_flag=True, help="Print what asking would take and cost; ask nothing."
)
DRY_TRAINING = click.Option(
    ["--dry-run"],
    is_flag=True,
    help="Print the memory, steps and hours that training would take; train nothing.",
)

STATE = "cpt.command"
"""Where the context of a command keeps its `CommandState`."""


@attrs.frozen
class CommandState:
    """What a command line means: where its run is, its values so far, and the flags it may have."""

    folder: Folder
    recorded: Mapping[str, Any]
    """The options in the record of the folder, when the line was read."""
    layers: Sequence[Layer]
    """The values from every place; the last is the command line, as text."""
    flags: Sequence[Flag]


class PipelineCommand(click.Command):
    """A command whose flags depend on the components named on its own line."""

    def __init__(
        self,
        *args: Any,
        shows: frozenset[str] = frozenset(),
        default_preset: bool = True,
        **rest: Any,
    ) -> None:
        super().__init__(*args, **rest)
        self.shows = shows
        """Fields of `Config` that its help lists; all if empty."""
        self.default_preset = default_preset
        """Whether a preset fills in what the line leaves open."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[STATE] = self._read(ctx, args)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The flags of the components chosen so far, made once for each line."""
        if STATE not in ctx.meta:
            ctx.meta[STATE] = self._read(ctx, [])
        return [*_state(ctx).flags, *super().get_params(ctx)]

    def _read(self, ctx: click.Context, args: list[str]) -> CommandState:
        registry, line = _registry(ctx), config.preparse(args)
        above = _above(line)
        folder = _folder(line, above, registry, self.default_preset)
        recorded = folder.options
        run_yaml = _run_yaml(folder.path, recorded)
        layers = config.stack([run_yaml, *above], registry, self.default_preset)
        layers = config.settled(layers, registry)
        # Completing a half-typed name is no error, nor is reading a run of missing plugins.
        lenient = ctx.resilient_parsing or "--status" in args
        return CommandState(folder, recorded, layers, self._flags(registry, layers, line, lenient))

    def _flags(
        self, registry: Registry, layers: Sequence[Layer], line: Addresses, lenient: bool
    ) -> list[Flag]:
        """The flags; with `lenient`, those of the defaults if a component is unknown."""
        try:
            flags = list(FlagBuilder(registry, config.merge(layers), line).flags(Config))
        except UnknownComponent:
            if not lenient:
                raise
            flags = list(FlagBuilder(registry, dict(config.DEFAULTS), {}).flags(Config))
        for flag in flags:
            field = flag.address.partition(".")[0]
            flag.hidden = flag.hidden or bool(self.shows and field not in self.shows)
        return flags

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The flags under a heading for each component."""
        groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                groups[getattr(param, "group", "")].append(record)
        for group, records in groups.items():
            with formatter.section(f"Options of {group}" if group else "Options"):
                formatter.write_dl(records)


def _state(ctx: click.Context) -> CommandState:
    state: CommandState = ctx.meta[STATE]
    return state


def _registry(ctx: click.Context) -> Registry:
    registry = ctx.find_object(Registry)
    assert registry is not None
    return registry


def _above(line: Addresses) -> list[Layer]:
    """The layers of values above the run folder's; the last is the command line itself."""
    files = [config.read(Path(line["config"]))] if "config" in line else []
    surroundings = map(config.of_run, [*files, config.environment()])
    return [*surroundings, Layer(COMMAND_LINE, _without_own(line))]


def _folder(
    line: Addresses, above: list[Layer], registry: Registry, default_preset: bool
) -> Folder:
    from cpt.run.record.folder import Folder

    if "output" in line:
        return Folder(Path(line["output"]))
    picked = config.merge(config.stack(above, registry, default_preset))
    return Folder(_default_path(picked))


def _run_yaml(path: Path, recorded: Mapping[str, Any]) -> Layer:
    """What the run folder remembers, less the options that are for one command only."""
    return Layer.of(str(path / "run.yaml"), _without_once(recorded), recorded=True)


def _without_once(tree: Mapping[str, Any], under: str = "") -> dict[str, Any]:
    return {
        name: _without_once(value, f"{under}{name}.") if isinstance(value, Mapping) else value
        for name, value in tree.items()
        if f"{under}{name}" not in ONCE
    }


def _default_path(picked: Addresses) -> Path:
    """A folder named after the method."""
    method = [str(picked[role]).partition(":")[0] for role in ("pairer", "loss") if role in picked]
    return Path("runs", "-".join(method).replace("/", "-").replace("*", "x"))


def _without_own(line: Addresses) -> Addresses:
    """The options of a run on the line, without those of the command itself."""
    return {address: value for address, value in line.items() if address not in OWN}


def prepare(ctx: click.Context, values: dict[str, Any]) -> Run:
    """The run that a command line describes; nothing is written yet."""
    from cpt.run.events import Events
    from cpt.run.stage import Run

    registry, state = _registry(ctx), _state(ctx)
    _refuse_broken(registry)
    # The flags know the types of their values, which the first reading of the line did not.
    typed = Layer(COMMAND_LINE, given(values, state.flags))
    resolved = config.resolve([*state.layers[:-1], typed], registry)
    manager = registry.plugins.manager
    manager.register(TrainingProgress(), TrainingProgress.__module__)
    for place, observer in enumerate(resolved.observers):
        if observer not in resolved.observers[:place]:
            observer.check()
            manager.register(observer, f"observers.{place} {observer.name}")
    keep_quiet()
    folder = state.folder
    return Run(resolved, folder, registry, Events(registry.plugins, folder.path))


@contextmanager
def holding(ctx: click.Context, run: Run) -> Iterator[None]:
    """The run folder for this command alone; whatever writes into it does so inside the block.

    The other processes of a launch are under the lock of the main one.
    """
    from cpt.run.stage import is_main

    if not is_main():
        yield
        return
    with run.folder.held(f"`cpt {ctx.info_name}`"):
        if run.folder.options != _state(ctx).recorded:
            raise CptError(
                f"{run.path}: another command changed its options while this one started; run "
                "this one again."
            )
        yield


def run_folder(ctx: click.Context) -> Folder:
    """The folder of a command line, even if plugins of its run are not loaded."""
    return _state(ctx).folder


def _refuse_broken(registry: Registry) -> None:
    """Raise `CptError` if a plugin that was asked for did not load: the run would be another."""
    for plugin in registry.plugins.broken:
        if plugin.asked:
            raise CptError(
                f"{plugin.source}: this plugin did not load ({plugin.why}); "
                f"`cpt -p {plugin.source} plugins --traceback` says more."
            )
