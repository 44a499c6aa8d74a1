"""The documentation as a site: it builds strictly, holds every page, and needs no network."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
LINK = re.compile(r"^- \[(.*?)\]\((.*?)\)", re.MULTILINE)
LOADED = re.compile(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=[\"']?((?:https?:)?//[^\"' >]*)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy of the pages."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "mkdocs.yml", folder)
    shutil.copytree(ROOT / "docs", folder / "docs")
    program = Path(sys.executable).with_name("zensical")
    done = subprocess.run(
        [program, "build", "--strict", "--clean"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": "docs", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "site"


def entries(group: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Title and page of everything in a part of the menu."""
    for title, held in group.items():
        if isinstance(held, str):
            yield title, held
        else:
            yield from (entry for item in held for entry in entries(item))


def test_every_page_is_in_the_list_and_in_the_menu() -> None:
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    listed = LINK.findall((ROOT / "docs" / "README.md").read_text())
    assert [item for group in CONFIG["nav"][1:] for item in entries(group)] == listed
    assert {page for _, page in listed} | {"README.md"} == pages


def test_the_site_holds_every_page_and_loads_nothing_from_elsewhere(site: Path) -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        name = "index" if page.name == "README.md" else page.stem
        built = (site / page.relative_to(ROOT / "docs")).with_name(f"{name}.html")
        text = built.read_text()
        assert LOADED.findall(text) == [], built
        assert "```" not in text, built
    assert (site / "search.json").exists()
    assert "llms.txt" in os.listdir(site)


def test_code_keeps_its_form(site: Path) -> None:
    assert "<code>int | None</code>" in (site / "reference" / "options.html").read_text()
    page = (site / "how-to" / "write-a-plugin.html").read_text()
    assert "console run" not in page and "file=septet.py" not in page
    assert "septet.py</span>" in page
