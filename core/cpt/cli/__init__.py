"""The `cpt` command."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import click

from cpt import paths
from cpt.cli.commands.advise import advise
from cpt.cli.commands.doctor import doctor
from cpt.cli.commands.export import export
from cpt.cli.commands.init import init
from cpt.cli.commands.inspect import plugins, show
from cpt.cli.commands.judge import judge
from cpt.cli.commands.report import gate, report
from cpt.cli.commands.respond import respond
from cpt.cli.commands.stages import COMMANDS
from cpt.cli.commands.winrate import winrate
from cpt.cli.plugin_command import from_environment, with_config
from cpt.cli.printing.output import echo
from cpt.errors import CptError, Stopped, printable, shortened
from cpt.files import FULL
from cpt.models import torchao
from cpt.plugins.manager import Plugins, load_plugins
from cpt.plugins.offers import Offers
from cpt.plugins.registry import Registry
from cpt.secrets import scrub

INTERRUPTED = 130
DISK = {
    errno.EACCES: CptError,
    errno.EISDIR: CptError,
    errno.ENAMETOOLONG: CptError,
    errno.EPERM: CptError,
    errno.ENOTDIR: CptError,
    errno.EROFS: CptError,
    errno.EIO: Stopped,
    **dict.fromkeys(FULL, Stopped),
}
"""Errors of the disk, wherever they happen, that are the user's to fix."""
FIX = "choose another folder, or fix its permissions or free space"

SPINNING = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"}
"""Variables that say how OpenMP's threads wait."""


class Cli(click.Group):
    """`cpt` with no sub-command is `cpt run`, and a plugin may add sub-commands."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **rest: Any
    ) -> Any:
        """Run, with one line for every error that is the user's to fix."""
        _open_closed_streams()
        # Arrow's own allocator keeps 13 MB that it does not use; it is chosen as Arrow is loaded.
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
        _spin_briefly()
        torchao.hide()
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **rest)
        sys.excepthook = _show_fault
        try:
            with _disk_errors():
                status = super().main(args, standalone_mode=False, **rest)
        except click.ClickException as error:
            echo(f"cpt: {shortened(error.format_message())}", err=True)
            status = error.exit_code
        except (click.Abort, KeyboardInterrupt):
            _end_at_once()
            echo("cpt: interrupted; what was done is kept, the same command continues.", err=True)
            status = INTERRUPTED
        sys.exit(status if isinstance(status, int) else 0)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        _refuse_surrogates(args)
        extra, args = _take_plugins(args)
        loaded = load_plugins(extra)
        paths.offer(loaded)
        ctx.obj = Registry.collect(loaded)
        if not args or (args[0].startswith("-") and args[0] not in ("-h", "--help", "--version")):
            args = ["run", *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, *self._offered(ctx).names(self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """One of ours, or a plugin's: as `PLUGIN/NAME` where the name alone is not enough."""
        if own := super().get_command(ctx, cmd_name):
            return own
        offered = self._offered(ctx).find(cmd_name)
        return with_config(offered) if offered else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that a line names; a plugin's has its options from the environment, too."""
        name, command, rest = super().resolve_command(ctx, args)
        if name and command and command not in self.commands.values():
            ctx.default_map = {name: from_environment(ctx, command)}
        return name, command, rest

    def _offered(self, ctx: click.Context) -> Offers[click.Command]:
        plugins: Plugins = ctx.obj.plugins
        return plugins.offers("cpt_commands", "command")


def _open_closed_streams() -> None:
    """Give each closed standard stream the null device, so that no file takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _spin_briefly() -> None:
    """Bound how long OpenMP's threads spin while they wait, unless the user says how they wait.

    Where another program has one of the cores, a thread that spins without bound keeps the thread
    that it waits for from running. Read as torch is loaded. Figures: `benchmarks/README.md`.
    """
    if not SPINNING & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = "10000"


def _show_fault(
    kind: type[BaseException], fault: BaseException, trace: TracebackType | None
) -> None:
    """Print a fault of the program as Python does, without keys and what a terminal would obey."""
    import traceback  # slow to import

    said = scrub("".join(traceback.format_exception(kind, fault, trace)))
    for line in said.rstrip("\n").split("\n"):
        echo(line, err=True)


def _end_at_once() -> None:
    """Let another Ctrl-C end this process while it ends, without a traceback."""
    with suppress(ValueError):  # this is not the main thread
        signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def _disk_errors() -> Iterator[None]:
    """Raise `CptError` for what only the user can fix; any other error is a bug, and stays."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK:
            raise
        where = f"{error.filename}: " if error.filename else ""
        full = error.errno in FULL
        fix = "make room, and the same command continues" if full else FIX
        raise DISK[error.errno](f"{where}{error.strerror}; {fix}.") from error


def _refuse_surrogates(args: Sequence[str]) -> None:
    """Raise `UsageError` for bytes that are no text here: Arrow could not open such a path."""
    for word in args:
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            raise click.UsageError(
                f"{printable(word)}: not in the encoding of this terminal ("
                f"{sys.getfilesystemencoding()}); rename the file, or set LANG=C.UTF-8."
            )


def _take_plugins(args: list[str]) -> tuple[list[str], list[str]]:
    """Take every `-p NAME` off the line: plugins must load before anything parses."""
    taken: list[str] = []
    left: list[str] = []
    words = iter(args)
    for word in words:
        if word in ("-p", "--plugin"):
            taken.append(next(words, ""))
        elif word.startswith("--plugin="):
            taken.append(word.removeprefix("--plugin="))
        else:
            left.append(word)
    if "" in taken:
        raise click.UsageError("-p needs a plugin: a module, a FILE.py, or no:NAME to block one.")
    return taken, left


@click.group(
    cls=Cli,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Options of a command: `cpt COMMAND --help`. "
    "Plugins: -p MODULE, -p FILE.py, -p no:NAME to block one.",
)
@click.version_option(package_name="contrastive-post-training")
def main() -> None:
    """Align a language model without human labels.

    Prompts become preference pairs, pairs train a model, and the model is measured. Without a
    command every stage runs; without arguments that happens in the built-in lab.
    """


for command in (
    *(respond, *COMMANDS, report, gate, winrate, judge, advise, doctor),
    *(export, plugins, show, init),
):
    main.add_command(command)
