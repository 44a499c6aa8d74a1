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
from cpt.roles import Judge

FLAGS = "cpt.judging.flags"
UNJUDGED = 1
"""Exit status if some judgement failed that another run asks for again."""


@attrs.frozen(kw_only=True)
class Judging:
    """How answers are judged."""

    judge: Judge | None = None
    """Who judges."""
    asking: Asking = attrs.field(factory=Asking)
    """How the judge is asked."""


class JudgingCommand(click.Command):
    """A command with the flags of the judge that is named on its own line."""

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
        return FlagBuilder(registry, {**_surroundings(), **line}, line).flags(Judging)


def judging_of(ctx: click.Context, values: dict[str, Any]) -> Judging:
    """The options on a line, as `JudgingCommand` read it. Raises `CptError`."""
    from cpt.config import options, unflatten

    registry = ctx.find_object(Registry)
    assert registry is not None
    chosen = {**_surroundings(), **given(values, ctx.meta[FLAGS])}
    return options.build(Judging, unflatten(chosen), registry)


def _surroundings() -> dict[str, Any]:
    """The options in the environment that are about judging: `CPT_ASKING__PRICES`."""
    from cpt.config import environment

    own = {field.name for field in attrs.fields(Judging)}
    found = environment().values
    return {name: value for name, value in found.items() if name.partition(".")[0] in own}


def make_folder(output: Path) -> None:
    """Make the folder that a command keeps answers in. Raises `CptError`."""
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CptError(f"--output {output}: cannot be made ({error.strerror}).") from error
