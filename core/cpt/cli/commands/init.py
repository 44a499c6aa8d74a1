"""`cpt init`: a plugin package to begin from."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from string import Template
from tempfile import TemporaryDirectory

import attrs
import click

from cpt.cli.fits import OWN
from cpt.cli.printing.output import echo
from cpt.errors import CptError
from cpt.files import write_text
from cpt.plugins.registry import Registry
from cpt.roles import ROLES, Loss, Scheduler

TEMPLATES = Path(__file__).parents[2] / "scaffold"
NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
EASIEST = Loss.role
"""What a package adds without `--role`."""


@attrs.frozen
class Package:
    """A plugin package that adds one component."""

    distribution: str
    """What it is installed as, and its folder."""
    role: str
    phased: bool = False
    """Whether its scheduler follows the model."""

    @property
    def module(self) -> str:
        return self.distribution.replace("-", "_")

    @property
    def name(self) -> str:
        """The name of the component: a `cpt-` in front belongs to the package alone."""
        return self.module.removeprefix("cpt_")

    @property
    def needs(self) -> str:
        """What it depends on: this version, and none that may have changed what it relies on."""
        major, minor, *_ = version(OWN).split(".")
        return f"{OWN}>={major}.{minor},<{major}.{int(minor) + 1}"

    @property
    def use(self) -> str:
        """A command that uses the component."""
        return self._filled(f"{self._templates}/use").strip()

    def files(self) -> Mapping[str, str]:
        """The text of every file by its path in the package."""
        return {
            ".gitignore": self._filled("gitignore"),
            "README.md": self._filled("README.md", use=self.use),
            "pyproject.toml": self._filled("pyproject.toml"),
            f"{self.module}/__init__.py": self._filled(f"{self._templates}/component.py"),
            f"{self.module}/py.typed": "",
            f"tests/test_{self.module}.py": self._filled(f"{self._templates}/test.py"),
        }

    @property
    def _templates(self) -> str:
        return f"phased_{self.role}" if self.phased else self.role

    def _filled(self, template: str, **more: str) -> str:
        text = TEMPLATES.joinpath(f"{template}.template").read_text(encoding="utf-8")
        return Template(text).substitute(
            distribution=self.distribution,
            module=self.module,
            name=self.name,
            cls="".join(part.capitalize() for part in self.name.split("_")),
            role=self.role,
            needs=self.needs,
            **more,
        )


@click.command()
@click.argument("name")
@click.option(
    "--role",
    "roles",
    type=click.Choice(list(ROLES)),
    multiple=True,
    help=f"What it adds.  [{EASIEST}]",
)
@click.option("--phased", is_flag=True, help="A scheduler that follows the model as it learns.")
@click.pass_obj
def init(registry: Registry, name: str, roles: tuple[str, ...], phased: bool) -> None:
    """Begin a plugin package in the folder NAME.

    It holds a component that works, a test of it, and all that it takes to be installed.
    """
    if len(roles) > 1:
        raise CptError(
            f"--role: {name} can begin with one only; the classes and hooks of others go beside "
            "it, in the same module."
        )
    if phased and roles != (Scheduler.role,):
        raise CptError("--phased: only a scheduler has phases; add --role scheduler.")
    package = Package(name, roles[0] if roles else EASIEST, phased)
    _refuse(package, registry)
    _write(package.files(), Path(name))
    if not roles:
        others = ", ".join(other for other in ROLES if other != EASIEST)
        echo(f"No --role was given, so it adds a {EASIEST}. There are also: {others}.")
    if package.role == Scheduler.role and not phased:
        echo("Its order is decided before training; with --phased it may follow the model.")
    echo(f"./{name} adds the {package.role} {package.name!r}. What comes next:")
    for command in (f"pip install -e ./{name} pytest", f"pytest ./{name}", package.use):
        echo(f"  {command}")


def _refuse(package: Package, registry: Registry) -> None:
    """Raise `CptError` if the package cannot have its name."""
    name = package.distribution
    if not (NAME.fullmatch(name) and NAME.fullmatch(package.name)):
        words = re.sub(r"[^a-z0-9]+", "-", name.lower())
        spelt = re.sub(r"^(cpt-)?[-0-9]+", r"\1", words).strip("-") or "my-plugin"
        raise CptError(
            f"{name!r} is no name for a package: take lower-case letters and digits, with "
            f"hyphens between words and a letter first, as in {spelt!r}."
        )
    if taken := next(_taken(package, registry), None):
        raise CptError(f"{name}: {taken} has this name already; take another.")
    if os.path.lexists(name):
        raise CptError(f"{name}: this file or folder is there already; take another name.")


def _taken(package: Package, registry: Registry) -> Iterator[str]:
    """Who has one of the package's names."""
    if iskeyword(package.module):
        yield "a keyword of Python"
    if package.name in registry.names(package.role):
        other = registry[package.role, package.name]
        yield f"the {package.role} {other.__module__}.{other.__qualname__}"
    if plugin := registry.plugins.found.get(package.name):
        yield f"the plugin of {plugin.source}"
    if find_spec(package.module):
        yield f"the module {package.module} that is installed"
    if _is_installed(package.distribution):
        yield "an installed package"


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def _write(files: Mapping[str, str], folder: Path) -> None:
    """Write a folder that is complete, or none."""
    with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as scratch:
        made = Path(scratch, folder.name)
        for path, text in files.items():
            write_text(made / path, text)
        made.rename(folder)
