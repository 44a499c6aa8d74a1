"""The commands that do the stages: all of them, or one."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import attrs
import click

from cpt import config
from cpt.cli.flags import FlagBuilder, given
from cpt.cli.progress import Progress, keep_quiet
from cpt.cli.tell import conclude
from cpt.config import Addresses, Config, Layer
from cpt.errors import CptError, UnknownComponent
from cpt.plugins.registry import Registry
from cpt.run.events import Events
from cpt.run.record.folder import Folder
from cpt.run.stage import Run, is_main


class PipelineCommand(click.Command):
    """A command whose flags grow with the components named on its own line."""

    def __init__(self, *args: Any, shows: frozenset[str] = frozenset(), **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.shows = shows
        """Fields of `Config` that its help speaks of; all if empty."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["line"] = config.preparse(args)
        ctx.meta["looks"] = "--status" in args
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The flags of the components chosen so far, made once for each line."""
        if "flags" not in ctx.meta:
            ctx.meta["flags"] = self._grown(ctx)
        return [*ctx.meta["flags"], *super().get_params(ctx)]

    def _grown(self, ctx: click.Context) -> list[click.Parameter]:
        registry = ctx.find_object(Registry)
        assert registry is not None
        line: Addresses = ctx.meta.get("line", {})
        try:
            picked = config.merge(layers(line, registry))
            found = list(FlagBuilder(registry, picked, line).flags(Config))
        except UnknownComponent:
            # Completing a half-typed name is no error, nor is looking at what others made.
            if not (ctx.resilient_parsing or ctx.meta.get("looks")):
                raise
            found = list(FlagBuilder(registry, dict(config.DEFAULTS), {}).flags(Config))
        for flag in found:
            flag.hidden = flag.hidden or bool(
                self.shows and flag.address.partition(".")[0] not in self.shows
            )
        return list(found)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The flags under a heading for each component."""
        groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                groups[getattr(param, "group", "")].append(record)
        for group, records in groups.items():
            with formatter.section(f"Options of {group}" if group else "Options"):
                formatter.write_dl(records)


def layers(line: Addresses, registry: Registry) -> list[Layer]:
    """Everything said about this run, least important first."""
    above = [config.environment(), Layer("the command line", _without_own(line))]
    if "config" in line:
        above.insert(0, config.read(Path(line["config"])))
    folder = _folder(config.merge(config.stack(above, registry)), line)
    recorded = dict(config.flatten(folder.options))
    return config.stack(
        [Layer(str(folder.path / "run.yaml"), recorded, recorded=True), *above], registry
    )


def _folder(picked: Addresses, line: Addresses) -> Folder:
    """The run folder: as told, or named after the method."""
    if "output" in line:
        return Folder(Path(line["output"]))
    method = [str(picked[role]).partition(":")[0] for role in ("pairer", "loss") if role in picked]
    return Folder(Path("runs", "-".join(method)))


def _without_own(line: Addresses) -> Addresses:
    """What the line says of the configuration, less the options of the command itself."""
    return {address: value for address, value in line.items() if address not in OWN}


OWN = ("output", "config", "json", "help", "dry_run", "redo", "status", "why")


ASKING = ("run", "pair")
"""Commands that ask models."""
DRY_RUN = click.Option(
    ["--dry-run"], is_flag=True, help="Say what asking would take and cost; ask nothing."
)


REDO = click.Option(
    ["--redo"],
    is_flag=True,
    help="Make again, in this folder, what has changed; answers that were paid for are kept.",
)


def pipeline_command(name: str, function: str, summary: str, shows: str = "") -> PipelineCommand:
    """A command that resolves the configuration, does a part of the pipeline, and reports."""

    @click.pass_context
    def callback(
        ctx: click.Context,
        /,
        output: str | None,
        config_file: str | None,
        as_json: bool,
        redo: bool,
        dry_run: bool = False,
        **rest: Any,
    ) -> None:
        from cpt.run import estimate, pipeline

        run = attrs.evolve(prepare(ctx, rest), redo=redo)
        if dry_run:
            return estimate.tell(estimate.estimate(run), as_json)
        getattr(pipeline, function)(run)
        if is_main():
            conclude(run.folder, as_json)
        return None

    return PipelineCommand(
        name,
        callback=callback,
        help=summary,
        shows=frozenset(shows.split()),
        params=[
            click.Option(["--output"], metavar="DIR", help="The run folder."),
            click.Option(["--config", "config_file"], metavar="FILE", help="Options in YAML."),
            click.Option(["--preset"], metavar="NAME", help="Options that a plugin offers."),
            click.Option(["--json", "as_json"], is_flag=True, help="Print the result as JSON."),
            REDO,
            *([DRY_RUN] if name in ASKING else []),
        ],
    )


def prepare(ctx: click.Context, values: dict[str, Any]) -> Run:
    """The run that a command line describes; nothing is written yet."""
    registry = ctx.find_object(Registry)
    assert registry is not None
    _refuse_broken(registry)
    stacked, folder = _described(ctx, values, registry)
    resolved = config.resolve(stacked, registry)
    registry.plugins.manager.register(Progress(), "progress")
    keep_quiet()
    return Run(resolved, folder, registry, Events(registry.plugins, folder.path))


def where(ctx: click.Context, values: dict[str, Any]) -> Folder:
    """The folder that a command line speaks of, even if plugins of its run are not loaded."""
    registry = ctx.find_object(Registry)
    assert registry is not None
    return _described(ctx, values, registry)[1]


def _described(
    ctx: click.Context, values: dict[str, Any], registry: Registry
) -> tuple[list[Layer], Folder]:
    line: Addresses = ctx.meta["line"]
    told = {each: line[each] for each in ("preset", *OWN) if each in line}
    typed = told | given(values, ctx.meta["flags"])
    stacked = layers(typed, registry)
    return stacked, _folder(config.merge(stacked), typed)


def _refuse_broken(registry: Registry) -> None:
    """Raise `CptError` if a plugin that was asked for did not load: the run would be another."""
    for plugin in registry.plugins.broken:
        if plugin.asked:
            raise CptError(
                f"{plugin.source}: this plugin did not load ({plugin.why}); "
                f"`cpt -p {plugin.source} plugins --traceback` says more."
            )


COMMANDS = (
    pipeline_command("run", "run_all", "Every stage, skipping what is done (also plain `cpt`)."),
    pipeline_command("pair", "pair", "Make pairs from prompts.", "prompts limit pairer asking"),
    pipeline_command(
        "train", "train", "Train a model on pairs.", "pairs model scheduler loss train seed"
    ),
    pipeline_command(
        "eval",
        "evaluate",
        "Measure the trained model beside the one it came from.",
        "evaluators eval_prompts eval_limit generator controls",
    ),
)


@click.command()
@click.option("--output", metavar="DIR", required=True, type=Path, help="The run folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def report(output: Path, as_json: bool) -> None:
    """Print again what a run made, and write its page again."""
    folder = Folder(output)
    if not folder.record:
        raise CptError(f"--output {output}: there is no run in this folder.")
    conclude(folder, as_json)
