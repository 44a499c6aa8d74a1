"""`--push-to-hub`: what a command does with the trained model when all else is done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import click

from cpt.cli.printing.output import echo

if TYPE_CHECKING:
    from cpt.run.record.folder import Folder


def push_options() -> list[click.Option]:
    """The options of a command that can do it."""
    return [
        click.Option(
            ["--push-to-hub"],
            metavar="OWNER/NAME",
            help="When all is done, upload the model to the hub, for its owner alone to see.",
        ),
        click.Option(["--public"], is_flag=True, help="With --push-to-hub: for all to see."),
    ]


@attrs.frozen
class Push:
    """An upload that was asked for; it is part of one command line and of no run's record."""

    name: str
    public: bool

    @classmethod
    def asked(cls, name: str | None, public: bool) -> Push | None:
        """What a line asks for. Raises `CptError` if that cannot be done; nothing is sent."""
        from cpt.models import hub

        if name is None:
            if public:
                raise click.UsageError("--public says who sees what --push-to-hub OWNER/NAME sends")
            return None
        hub.check(name)
        return cls(name, public)

    def __call__(self, folder: Folder, as_json: bool) -> None:
        """Upload what is in the folder of a run. Raises `Stopped`."""
        from cpt.models import hub

        address = hub.push(_model(folder), self.name, public=self.public)
        echo(f"{'hub':<9} {address}", err=as_json)


def _model(folder: Folder) -> Path:
    """The trained model; of several rounds, that of the last."""
    last = folder.stage("rounds").get("summary", {}).get("model")
    return Path(last) if last else folder.path / "model"
