"""`cpt plugins --check`: plugins that are installed, each wrong in a way of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LOSS = '''
import attrs, cpt

@attrs.frozen
class Mine(cpt.Loss):
    """Written for one test."""
    name = "mine"
    beta: {option}
    """A factor."""

    def __call__(self, batch):
        return -self.beta * batch.chosen.policy

@cpt.hookimpl
def cpt_losses():
    return {returned}
'''
Installed = Callable[..., None]
Check = Callable[..., dict[str, Any]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """Install a plugin `mine` as pip would have."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(__import__("sys").modules, "its_mine", raising=False)

    def installed(needs: str = "", option: str = "float = 0.1", returned: str = "[Mine]") -> None:
        (site / "its_mine.py").write_text(LOSS.format(option=option, returned=returned))
        info = site / "its_mine-0.3.0.dist-info"
        info.mkdir()
        requires = f"Requires-Dist: contrastive-post-training{needs}\n" if needs != "none" else ""
        (info / "METADATA").write_text(f"Name: its-mine\nVersion: 0.3.0\n{requires}")
        (info / "entry_points.txt").write_text("[cpt]\nmine = its_mine\n")

    return installed


@pytest.fixture
def check(cpt_cli: Callable[..., Any]) -> Check:
    def checked(*arguments: object, broken: bool = False) -> dict[str, Any]:
        result = cpt_cli("plugins", "--check", "--json", *arguments)
        assert result.exit_code == int(broken), result.output
        return {plugin["name"]: plugin for plugin in json.loads(result.stdout)}

    return checked


def test_bundled_plugins_fit(check: Check) -> None:
    found = check()
    assert {plugin["status"] for plugin in found.values()} == {"fits"}
    assert "loss apo_zero" in found["apo"]["components"]


@pytest.mark.parametrize("needs", [">=0.1,<0.2", " >=0.1 ; python_version > '3'"])
def test_a_plugin_made_for_this_version_fits(check: Check, install: Installed, needs: str) -> None:
    install(needs)
    mine = check()["mine"]
    assert (mine["status"], mine["faults"], mine["notes"]) == ("fits", [], [])
    assert (mine["source"], mine["version"]) == ("its-mine", "0.3.0")


@pytest.mark.parametrize("needs", ["", "none"])
def test_a_plugin_that_names_no_versions_is_told(
    check: Check, install: Installed, needs: str
) -> None:
    install(needs)
    assert "names no versions of contrastive-post-training" in check()["mine"]["notes"][0]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"needs": " at least 1"}, "what it requires cannot be read"),
        ({"needs": ">=7"}, "it needs contrastive-post-training>=7, and this is"),
        ({"option": "float = 'much'"}, "loss mine: beta: its default 'much' is no"),
        ({"option": "int = attrs.field(default=0, validator=attrs.validators.ge(1))"}, "beta"),
        ({"option": "Tensor = 0.1"}, "Tensor"),
        ({"returned": "[int]"}, "cpt_losses must return classes derived from cpt.Loss"),
        ({"returned": "{'mine': 'its_mine:Gone'}"}, "its_mine has no 'Gone'"),
    ],
)
def test_what_is_wrong_is_said_and_is_the_exit_status(
    check: Check, install: Installed, wrong: dict[str, str], says: str
) -> None:
    install(**{"needs": ">=0.1", **wrong})
    mine = check(broken=True)["mine"]
    assert mine["status"] == "broken"
    assert says in " ".join(mine["faults"])


def test_a_catalogue_says_what_is_absent_and_what_is_other_than_known(
    check: Check, install: Installed, tmp_path: Path, cpt_cli: Callable[..., Any]
) -> None:
    install(">=0.1")
    catalogue = tmp_path / "known.toml"
    catalogue.write_text('[mine]\npackage = "its-mine"\noffers = {loss = ["mine"]}\n')
    assert check("--catalogue", catalogue)["mine"]["status"] == "fits"
    catalogue.write_text(
        '[mine]\npackage = "its-mine"\nversions = "<0.3"\noffers = {loss = ["mine", "yours"]}\n'
        '[far]\npackage = "cpt-far"\n'
    )
    found = check("--catalogue", catalogue, broken=True)
    assert found["far"]["status"] == "absent"
    assert found["mine"]["faults"] == [
        "the catalogue knows its-mine<0.3, and this is 0.3.0",
        "the catalogue says that it offers loss yours",
    ]
    assert cpt_cli("plugins", "--catalogue", catalogue).exit_code == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[mine]\npackages = 'its-mine'\n", "mine.packages: no such option"),
        ("[mine]\n", "mine.package: must be given"),
        ("mine = 3\n", "expected options by name, got 3"),
        ("[mine]\npackage = 'a'\nversions = 'new'\n", "as in >=0.1,<0.2, got 'new'"),
        ("[mine\n", "no catalogue of plugins"),
    ],
)
def test_a_wrong_catalogue_is_one_line(
    tmp_path: Path, cpt_cli: Callable[..., Any], text: str, says: str
) -> None:
    (tmp_path / "known.toml").write_text(text)
    wrong = cpt_cli("plugins", "--check", "--catalogue", tmp_path / "known.toml")
    assert wrong.exit_code == 2
    assert says in wrong.stderr and len(wrong.stderr.splitlines()) == 1
