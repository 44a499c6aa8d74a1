"""Commands that ask a judge: the flags of the judge on their line, and where answers are kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click

from cpt.asking.options import Asking
from cpt.cli.flags import Flag, FlagBuilder, given
from cpt.errors import CptError
from cpt.plugins.registry import Registry
from cpt.roles import PATH, Judge, Responder

FLAGS = "cpt.judging.flags"
UNJUDGED = 1
"""Exit status if some judgement failed that another run asks for again."""


def folder_option(help: str) -> click.Option:
    """`--output`, the folder that a command writes into."""
    kind = click.Path(path_type=Path, file_okay=False)
    return click.Option(["--output"], metavar="DIR", type=kind, help=help)


@attrs.frozen(kw_only=True)
class Judging:
    """How answers are judged."""

    judge: Judge | None = None
    """Who judges."""
    asking: Asking = attrs.field(factory=Asking)
    """How the judge is asked."""


@attrs.frozen(kw_only=True)
class Comparing(Judging):
    """How a model answers, and how its answers are judged."""

    model: str | None = attrs.field(default=None, metadata=PATH)
    """Whose own answers the others are compared with: a folder, a hub id or a service's name."""
    generator: Responder | None = None
    """How it answers; its model is filled in."""


class JudgingCommand(click.Command):
    """A command with the flags of the judge that is named on its own line."""

    def __init__(self, *args: Any, options: type[Judging] = Judging, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.options = options
        """Whose fields are its flags."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from cpt import config

        ctx.meta[FLAGS] = list(self._flags(ctx, config.preparse(args)))
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        if FLAGS not in ctx.meta:
            ctx.meta[FLAGS] = list(self._flags(ctx, {}))
        return [*super().get_params(ctx), *ctx.meta[FLAGS]]

    def _flags(self, ctx: click.Context, line: dict[str, Any]) -> Iterator[Flag]:
        registry = ctx.find_object(Registry)
        assert registry is not None
        values = {**_surroundings(self.options), **line}
        return FlagBuilder(registry, values, line).flags(self.options)


def judging_of(ctx: click.Context, values: dict[str, Any]) -> Judging:
    """The options on a line, as `JudgingCommand` read it. Raises `CptError`."""
    from cpt.config import options, unflatten

    registry, command = ctx.find_object(Registry), ctx.command
    assert registry is not None and isinstance(command, JudgingCommand)
    chosen = {**_surroundings(command.options), **given(values, ctx.meta[FLAGS])}
    return options.build(command.options, unflatten(chosen), registry)


def _surroundings(options: type[Judging]) -> dict[str, Any]:
    """The defaults, and the options in the environment, of a command: `CPT_ASKING__PRICES`."""
    from cpt.config import DEFAULTS, environment

    own = {field.name for field in attrs.fields(options)}
    found = {**DEFAULTS, **environment().values}
    return {name: value for name, value in found.items() if name.partition(".")[0] in own}


def make_folder(output: Path) -> None:
    """Make the folder that a command keeps answers in. Raises `CptError`."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CptError(f"--output {output}: cannot be made ({error.strerror}).") from error
