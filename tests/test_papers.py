"""The experiments on the papers: valid configurations, and a page that says what was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from cpt import config
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt.report.formatting import DASH, MINUS

from .fresh import ROOT

FOLDER = ROOT / "examples" / "papers"
CONFIGS = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "claims.yaml")


@pytest.fixture(scope="module")
def papers() -> Iterator[Any]:
    """A function that gives a module of the experiments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield import_module
    for name in ("run", "page", "tables", "measures"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_configuration_is_one_of_cpt_and_has_its_seed(path: Path) -> None:
    registry = Registry.collect(load_plugins())
    settings = config.resolve(config.stack([config.read(path)], registry), registry)
    assert settings.seed == 0
    assert "seed: 0" in path.read_text()


def test_every_claim_is_about_steps_and_rows_that_are_there(papers: Any) -> None:
    plan = papers("run").read_plan()
    for name, claim in plan.claims.items():
        steps = list(plan.steps_of(name))
        assert {row.partition("/")[0] for row in claim["rows"].values()} <= set(steps)
        for step in steps:
            before = steps[: steps.index(step)]
            assert set(plan.steps[step].get("after", ())) <= set(before), step
            assert (FOLDER / plan.steps[step].get("config", "claims.yaml")).exists()
        for pair in claim["expect"]:
            assert all(row in claim["rows"] for row in pair[:2] if isinstance(row, str))
    assert {len(plan.forms[form].seeds) for form in ("quick", "whole")} == {2, 5}


def test_a_seed_is_everywhere_and_has_its_lab(papers: Any) -> None:
    run = papers("run")
    plan = run.read_plan()
    made = run.configuration(plan.steps["rlaif"], plan.forms["whole"], 3)
    assert made["seed"] == made["generator"]["seed"] == made["pairer"]["responder"]["seed"] == 3
    assert made["model"] == made["pairer"]["responder"]["model"] == "lab:seed=3/policy"
    assert (made["limit"], made["eval_limit"]) == (2000, 1000)


def test_a_larger_model_has_a_lab_of_its_own(papers: Any) -> None:
    run = papers("run")
    plan = run.read_plan()
    step, form = plan.steps["scale_larger"], plan.forms["whole"]
    assert run.configuration(step, form, 3)["model"] == "lab:large/seed=3/policy"
    assert run.configuration(step, form, 3)["pairs"] == "larger"


def test_a_share_of_a_set_is_its_first_pairs(papers: Any, tmp_path: Path) -> None:
    from pyarrow import parquet, table

    run = papers("run")
    (tmp_path / "strong_weak").mkdir()
    parquet.write_table(table({"id": list("abcdefgh")}), tmp_path / "strong_weak/pairs.parquet")
    plan = run.read_plan()
    run.Desk(tmp_path, plan.forms["quick"], 0).do("quarter", plan.steps["quarter"])
    left = parquet.read_table(tmp_path / "quarter" / "strong_weak.parquet")
    assert left.column("id").to_pylist() == ["a", "b"]
    assert json.loads((tmp_path / "quarter.done").read_text())["cpu"] > 0


def test_the_cpu_time_of_a_command_is_that_of_its_children_too(papers: Any) -> None:
    cpu_of = papers("run").cpu_of
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"
    assert 0.3 <= cpu_of([sys.executable, "-S", "-c", child]) < 20
    with pytest.raises(subprocess.CalledProcessError):
        cpu_of([sys.executable, "-S", "-c", "raise SystemExit(3)"])


def test_an_estimate_is_a_mean_with_students_interval(papers: Any) -> None:
    estimate = papers("tables").estimate
    stats = pytest.importorskip("scipy.stats")
    values = [0.1, 0.2, 0.4]
    found = estimate(values)
    low, high = stats.t.interval(0.95, 2, loc=found.mean, scale=stats.sem(values))
    assert found.ends[1:] == pytest.approx((low, high), rel=1e-3)
    assert str(estimate([0.25])) == "0.250"
    assert str(estimate([-0.5, -0.5])) == f"{MINUS}0.500 ± 0.000"
    assert estimate([]) is None


@pytest.mark.parametrize(
    "values, says",
    [
        ([[0.10, 0.11, 0.12]], "bears the claim out"),
        ([[-0.10, -0.11, -0.12], [0.1, 0.11, 0.12]], "does not bear the claim out"),
        ([[0.1, 0.3]], "Open: of 1 differences 0 above zero beyond the interval"),
        ([[0.1, 0.11, 0.12], []], "Run in part"),
        ([[], []], "Not run."),
        ([[0.2]], "Open"),
    ],
)
def test_a_verdict_says_no_more_than_the_differences(papers: Any, values: Any, says: str) -> None:
    assert says in papers("tables").verdict(values)


def test_differences_are_taken_seed_by_seed(papers: Any) -> None:
    differences = papers("tables").differences
    rows = {"a": {0: {"x": 3.0}, 1: {"x": 5.0}}, "b": {1: {"x": 1.0}, 2: {"x": 9.0}}}
    assert differences(rows, "a", "b", "x") == [4.0]
    assert differences(rows, "a", 2, "x") == [1.0, 3.0]
    assert differences(rows, 0, "b", "x") == [-1.0, -9.0]
    assert differences(rows, "a", "b", "y") == []


def test_a_curve_that_is_not_there_is_no_plot(papers: Any, tmp_path: Path) -> None:
    run, page = papers("run"), papers("page")
    plan = run.read_plan()
    rows = {"CLAIR, APO-zero": {}, "weaker, DPO": {0: {"logratios/chosen": 1.0}}}
    assert page.plot(plan.claims["likelihoods"], rows, plan.forms["quick"], tmp_path) is None


def test_a_claim_may_be_about_one_column(papers: Any) -> None:
    section = papers("page").section
    rows = {"a": {0: {"x": 3.0, "y": 1.0}}, "b": {0: {"x": 1.0, "y": 2.0}}}
    claim = {"columns": ["x", "y"], "compare": ["x"], "title": "", "source": "", "says": ""}
    text = section(claim | {"rows": rows, "expect": [["a", "b"], ["b", "a", "y"]]}, rows)
    assert f"| a {MINUS} b | 2.000 | {DASH} |" in text
    assert f"| b {MINUS} a | {DASH} | 1.000 |" in text


def test_the_page_has_what_is_done_and_names_what_is_not(papers: Any, tmp_path: Path) -> None:
    run, page = papers("run"), papers("page")
    whole = run.read_plan()
    plan = run.Plan(whole.forms, whole.steps, {n: whole.claims[n] for n in ("gaps", "contrast")})
    for seed, jaccard in ((0, 0.5), (1, 0.7)):
        folder = tmp_path / f"seed-{seed}"
        folder.mkdir()
        for step in ("clair", "on_policy", "off_policy", "stronger"):
            found = {"pairs": 90 + seed, "contrast": {"jaccard": jaccard + (step == "clair") / 10}}
            (folder / f"doctor_{step}.json").write_text(json.dumps(found))
            note = {"began": 120 * seed, "seconds": 60, "cpu": 90}
            (folder / f"doctor_{step}.done").write_text(json.dumps(note))
    page.write_page(plan, plan.forms["quick"], tmp_path, tmp_path / "results.md")
    text = (tmp_path / "results.md").read_text()
    head, gaps, contrast = text.split("## ")
    assert "| SFT, SLiC and DPO on pairs of three gaps | Not run | arXiv 2310.02263 | 0 |" in head
    assert (
        "| How far apart the two sides are | The lab bears the claim out | arXiv 2408.06266 | 2 |"
        in head
    )
    assert "**Not run.**" in gaps and "| seeds |" not in gaps
    assert f"| CLAIR | 0.700 ± 1.271 | {DASH} | {DASH} | {DASH} | 90 to 91 | 2 |" in contrast
    assert f"| CLAIR {MINUS} on-policy judge | 0.100 ± 0.000 |" in contrast
    assert "`python examples/papers/run.py --quick`" in text and "8 steps" in text
    assert "8 steps, 12 minutes of CPU time, 3 minutes from the first to the last." in text
    assert (tmp_path / "contrast.svg").read_text().startswith("<svg")
    assert not (tmp_path / "gaps.svg").exists()
