"""A fresh virtual environment that borrows what is installed here, but not this project."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent
BORROWED = ("accelerate", "pip", "pytest", "torchrun")
SCRIPT = """#!{python}
from importlib.metadata import entry_points
(program,) = entry_points(group="console_scripts", name="{program}")
raise SystemExit(program.load()())
"""


def build(target: str, out: Path, source: Path = ROOT) -> Path:
    """Build a `wheel` or an `sdist` of a project into an empty folder; return the file."""
    _run([sys.executable, "-m", "hatchling", "build", "-t", target, "-d", out], cwd=source)
    (built,) = out.iterdir()
    return built


@attrs.frozen
class Environment:
    """A virtual environment."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Environment:
        """Make one. What it borrows comes after its own, and editable installs do not come."""
        _run([sys.executable, "-m", "venv", "--without-pip", folder])
        made = cls(folder)
        (made.packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
        for program in BORROWED:
            script = folder / "bin" / program
            script.write_text(SCRIPT.format(python=folder / "bin" / "python", program=program))
            script.chmod(0o755)
        return made

    @property
    def variables(self) -> dict[str, str]:
        """What a shell in this environment has: pip takes all it needs from disk."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "CPT_", "COV_"))
        }
        offline = {
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads this one the wrong way round
            "PIP_IGNORE_INSTALLED": "1",
            "PIP_QUIET": "1",
        }
        path = f"{self.folder / 'bin'}{os.pathsep}{inherited['PATH']}"
        return inherited | offline | {"PATH": path, "VIRTUAL_ENV": str(self.folder)}

    @property
    def packages(self) -> Path:
        """Where what is installed lies."""
        return Path(sysconfig.get_path("purelib", vars={"base": str(self.folder)}))

    def install(self, *packages: Path) -> None:
        """Install wheels or project folders from disk, without looking for anything else."""
        self.run("pip", "install", *packages)

    def run(self, command: str, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run a program of this environment: what it printed, errors after the rest."""
        return _run([self.folder / "bin" / command, *arguments], cwd, self.variables)


def _run(
    command: list[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None
) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr
