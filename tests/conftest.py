"""The project as its users have it."""

from __future__ import annotations

import gc
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from .commands import Commands
from .fresh import ROOT, Environment, build
from .warm import WarmPython

if TYPE_CHECKING:
    from .training_process import Trainings

NOT_HERE = "the published data is not in ../shared/data"

# Tiny models are quickest on one thread; more only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# No test is about time: a busy machine must not turn one red. And the same tree is green or red
# every time: `--hypothesis-profile=explore` looks for what nobody has seen yet.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("patient", patient, derandomize=True, database=None)
settings.register_profile("explore", patient, max_examples=1000)
settings.load_profile("patient")


@pytest.fixture(scope="module", autouse=True)
def frozen() -> None:
    """Trainings collect garbage; what is loaded already is none, and takes long to look through."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws is the same wherever and after whatever it runs."""
    random.seed(0)
    if (numpy := sys.modules.get("numpy")) is not None:
        numpy.random.seed(0)
    if (torch := sys.modules.get("torch")) is not None:
        torch.manual_seed(0)


LOADED = (
    *("cpt.*", "datasets", "pyarrow.json", "rich.table", "rich.progress", "cattrs", "jinja2"),
    *("transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto"),
    *("transformers.models.llama.modeling_llama", "transformers.tokenization_utils_tokenizers"),
    *("transformers.generation.utils", "rapidfuzz.fuzz"),
    *("cpt_judges.*", "cpt_lab.*", "cpt_ladder.*", "cpt_recorded.*", "cpt_transformers.*"),
)
"""What commands import, which takes longer than what they do in a test."""
DONE = """
from cpt.plugins.manager import load_plugins
from cpt.report.html import environment
from transformers.conversion_mapping import get_checkpoint_conversion_mapping

load_plugins()
get_checkpoint_conversion_mapping("llama")
for name in environment().list_templates(filter_func="comparison.html".__ne__):
    environment().get_template(name)
"""
"""What they do alike, which takes as long."""


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache that the tests of a module share with nobody."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("CPT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmPython]:
    """A Python that has loaded what commands import."""
    python = WarmPython(tmp_path_factory.mktemp("warm"), [*LOADED, "tests.tiny"], DONE, cwd=ROOT)
    yield python
    python.close()


@pytest.fixture(scope="session")
def commands(warm: WarmPython) -> Commands:
    return Commands(warm)


@pytest.fixture(scope="session")
def trainings(warm: WarmPython) -> Trainings:
    from .training_process import Trainings

    return Trainings(warm)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this tree."""
    return build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A fresh environment with the wheel in it."""
    environment = Environment.make(tmp_path_factory.mktemp("environment"))
    environment.install(wheel)
    return environment


@pytest.fixture(scope="session")
def published() -> Callable[[str], Path]:
    """The path of a file of published data; the test is skipped where it is not there."""

    def find(name: str) -> Path:
        path = ROOT.parent / "shared" / "data" / name
        if not path.exists():
            pytest.skip(NOT_HERE)
        return path

    return find


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.getreports("skipped")
    without = sum(NOT_HERE in str(report.longrepr) for report in skipped)
    if without:
        tests = "1 test was" if without == 1 else f"{without} tests were"
        terminalreporter.write_line(f"{tests} skipped: {NOT_HERE}.", yellow=True)
