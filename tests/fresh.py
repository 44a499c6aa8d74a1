"""A fresh virtual environment that borrows what is installed here, but not this project."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent


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
        own = sysconfig.get_path("purelib", vars={"base": str(folder)})
        Path(own, "borrowed.pth").write_text(sysconfig.get_path("purelib"))
        return cls(folder)

    def install(self, *packages: Path) -> None:
        """Install wheels or project folders from disk, without looking for anything else."""
        pip = [sys.executable, "-m", "pip", "--python", self.folder / "bin" / "python"]
        options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
        _run([*pip, "install", *options, "--ignore-installed", *packages])

    def run(self, command: str, *arguments: str | Path, cwd: Path | None = None) -> str:
        """Run a program of this environment: what it printed, errors after the rest."""
        done = _run([self.folder / "bin" / command, *arguments], cwd=cwd)
        return done.stdout + done.stderr


def _run(command: list[str | Path], cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "CPT_", "COV_"))
    }
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done
