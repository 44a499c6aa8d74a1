"""The page of a run: its numbers are those of the files, and it is safe to open and to send."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import attrs
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

import cpt
from cpt import report
from cpt.asking.journal.queries import Charge
from cpt.cli import main
from cpt.report.formatting import DASH, MINUS, digits, share, signed
from cpt.report.html import render
from cpt.report.read import browser
from cpt.report.read.browser import read_browser
from cpt.report.read.costs import Costs
from cpt.report.read.run import read_run
from cpt.report.sentences import about_scores, about_training
from cpt.types import Score

from . import tiny
from .fresh import ROOT
from .pages import Page, faults
from .plugins import source
from .test_run import PRICES

BROWSER = shutil.which("chromium")
OWN_SCRIPTS = 2
"""The browser of all pairs and its data, which does not run."""


MEASURING = '''
"""A measure that needs no judge, and a model that is none."""

import attrs
import cpt


@attrs.frozen
class Length(cpt.Evaluator):
    """How much is said."""

    name = "length"

    async def evaluate(self, model, prompts, ask):
        said = {prompt.id: await ask(model, prompt) for prompt in prompts}
        letters = {name: len(response.text) for name, response in said.items()}
        words = {name: len(response.text.split()) for name, response in said.items()}
        return {"characters": cpt.Score.mean(letters), "words": cpt.Score.mean(words)}


@attrs.frozen
class Parrot(cpt.Local):
    """Says it again."""

    name = "parrot"
    model: str
    """What it is called."""

    def answer_all(self, requests):
        return [
            cpt.Response(
                prompt_id=prompt.id, text=f"{self.model}: {prompt.text}", author=self.model
            )
            for prompt, _ in requests
        ]


@cpt.hookimpl
def cpt_evaluators():
    return [Length]


@cpt.hookimpl
def cpt_responders():
    return [Parrot]
'''
AUTHORS = ("large", "middle", "small")


def command(folder: Path, *line: str) -> str:
    """What `cpt` says in a folder; it must succeed."""
    with contextlib.chdir(folder):
        result = CliRunner().invoke(main, line, prog_name="cpt", catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def in_a_process(folder: Path, *line: str, **more: str) -> str:
    """The same in a process of its own, with more in its environment."""
    whole = [sys.executable, "-m", "cpt", *line]
    environment = {**os.environ, **more}
    return subprocess.check_output(whole, cwd=folder, env=environment, text=True)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A whole run with scores, and controls one of which asks models of its own."""
    folder = tmp_path_factory.mktemp("lab")
    (folder / "measuring.py").write_text(MEASURING)
    rows: list[dict[str, Any]] = [
        {
            "id": f"p{row}",
            "prompt": f"question {row}",
            "responses": {author: f"{author * (1 + row % 3)} says {row}" for author in AUTHORS},
        }
        for row in range(24)
    ]
    for row, alike in enumerate(("small", "middle")):
        rows[row]["responses"] |= {"middle": "same", "small": "same", "large": f"{alike}: same"}
    rows[2]["responses"] = dict.fromkeys(AUTHORS, "same")
    (folder / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    speaking = {"name": "transformers", "model": str(model), "max_tokens": 8}
    rungs = [{"name": "recorded", "source": f"said.jsonl#{author}"} for author in AUTHORS]
    options = {
        "prompts": "said.jsonl",
        "eval_prompts": "said.jsonl",
        "pairer": {"name": "ladder", "rungs": rungs},
        "model": str(model),
        "scheduler": {"name": "staged", "by": "margin"},
        "loss": "dpo",
        "train": {"batch_size": 8, "learning_rate": 1e-3, "log_every": 1, "device": "cpu"},
        "evaluators": ["length"],
        "generator": {**speaking, "device": "cpu"},
        "controls": {
            "sft_own": {
                "pairer": {"name": "ladder", "rungs": ["parrot:polly", "parrot:jack"]},
                "loss": "sft",
            },
            "cooled": {"temperature": 0.5},
        },
    }
    (folder / "options.yaml").write_text(yaml.safe_dump(options))
    command(folder, "-p", "measuring.py", "--config", "options.yaml", "--output", "run")
    return folder / "run"


@pytest.fixture(scope="module")
def page(lab: Path) -> Page:
    """Its page."""
    return page_of(lab)


def test_every_file_of_a_run_is_documented(lab: Path) -> None:
    known = (ROOT / "docs" / "reference" / "run-folder.md").read_text()
    files = [path.name + "/" * path.is_dir() for path in lab.iterdir()]
    assert len(files) > 10
    unknown = [name for name in files if f"`{name}" not in known]
    assert [name for name in unknown if not name.startswith("journal.sqlite-")] == []


@pytest.fixture
def run(lab: Path, tmp_path: Path) -> Path:
    """The same run, to be changed."""
    return Path(shutil.copytree(lab, tmp_path / "run"))


def page_of(run: Path) -> Page:
    """The page that is written now, which must be well made."""
    written = report.write(run)
    assert written == run / "report.html"
    page = Page(written.read_text(encoding="utf-8"))
    assert faults(page) == []
    return page


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def number(text: str) -> float:
    return float(text.replace(MINUS, "-").replace(",", "").rstrip("%"))


def same(said: str, value: float, half: float) -> bool:
    """Whether `0.58 ± 0.02` is these two numbers, as far as its digits go."""
    places = len(said.split(" ± ")[0].partition(".")[2])
    rounded = [round(exact, places) for exact in (value, half)]
    return rounded == [number(part) for part in said.split(" ± ")]


# What the page says


def test_scores_changes_and_leads_are_those_of_the_run(lab: Path, page: Page) -> None:
    plain = json.loads((lab / "scores.json").read_text())
    scores = plain["scores"]
    rows = {row[0]: row[1:] for row in page.table("± is half of the 95% interval")[1:]}
    assert set(rows) == set(scores)
    name = list(scores["before"])[-1]  # the table that is left in the dictionary is the last
    after = scores["after"][name]["each"]
    for model, (score, change, lead) in rows.items():
        exact = scores[model][name]
        assert same(score, exact["value"], exact["value"] - exact["low"])
        if model == "before":
            assert not change
            continue
        expected = plain["change"][model][name]
        assert same(change, expected["value"], expected["value"] - expected["low"])
        if model != "after":
            gaps = [after[prompt] - value for prompt, value in exact["each"].items()]
            half = 1.96 * stdev(gaps) / len(gaps) ** 0.5
            assert same(lead, fmean(gaps), half)
    assert {"before", "after", "sft_own", "cooled"} <= set(page.drawn)


def test_every_prompt_and_every_pair_has_an_outcome_and_they_add_up(lab: Path, page: Page) -> None:
    found = lines(lab / "outcomes.jsonl")
    doctor = json.loads((lab / "doctor.json").read_text())
    expected = {
        "every prompt": Counter(prompt["outcome"] for prompt in found),
        "every pair": Counter(
            {"kept": pq.read_metadata(lab / "pairs.parquet").num_rows}
            | Counter(pair["reason"] for prompt in found for pair in prompt["dropped"])
        ),
        "Pairs in training": {"kept": doctor["kept"]},
    }
    for caption, counts in expected.items():
        *rows, total = page.table(caption)[1:]
        assert {row[0]: int(number(row[1])) for row in rows} == counts
        assert int(number(total[1])) == sum(counts.values())
    assert len(expected["every prompt"]) > 1 and len(expected["every pair"]) > 1
    (reason, count), *_ = doctor["counts"].items()
    assert f"{count} pairs {reason}" in page.words


def test_the_pairs_are_those_of_the_file(lab: Path, page: Page) -> None:
    pairs = pq.read_table(lab / "pairs.parquet").to_pylist()
    counted = Counter((p["chosen_author"], p["rejected_author"], str(p["tier"])) for p in pairs)
    rows = page.table("by authors and tier")[1:]
    assert {(row[0], row[1], row[2]): int(row[3]) for row in rows} == counted
    longer = sum(len(p["chosen"][0]["content"]) > len(p["rejected"][0]["content"]) for p in pairs)
    assert f"The chosen side is longer in {share(longer, len(pairs))}" in page.words
    shown = {p["id"]: p for p in pairs if f"{p['id']}, tier {p['tier']}" in page.words}
    assert len(shown) == 6
    for pair in shown.values():
        for side in ("prompt", "chosen", "rejected"):
            assert pair[side][0]["content"] in page.contents


def test_training_is_what_was_logged_also_in_sentences(lab: Path, page: Page) -> None:
    metrics = lines(lab / "metrics.jsonl")
    facts = dict(page.table("Last logged metrics"))
    assert facts["step"] == str(metrics[-1]["step"])
    assert facts["loss"] == digits(metrics[-1]["loss"])
    last = [line for line in metrics if line["step"] > metrics[-1]["step"] * 0.9]
    rows = {row[0]: row[1:] for row in page.table("Log-probability of an answer")[1:]}
    for side in ("chosen", "rejected"):
        assert rows[side][0] == signed(metrics[0][f"logps/{side}"], 2)
        assert rows[side][1] == signed(fmean(line[f"logps/{side}"] for line in last), 2)
        ratio = fmean(line[f"logratios/{side}"] for line in last)
        assert ratio == pytest.approx(fmean(line[f"rewards/{side}"] for line in last) / 0.1)
        assert rows[side][2] == signed(ratio, 2, sign=True)
        word = "rose" if ratio > 0 else "fell"
        assert f"The log-probability of the {side} answers {word} by" in page.words
    assert {"change in nats", "log-probability in nats", "pairs, in %", "step"} <= set(page.drawn)
    assert any(alt.startswith("Mean tier over") for alt in page.alts)


def test_the_costs_are_those_of_the_journals_of_the_controls_too(lab: Path, page: Page) -> None:
    journals = [lab / "journal.sqlite", lab / "controls" / "sft_own" / "journal.sqlite"]
    asked = 0
    for journal in journals:
        with sqlite3.connect(journal) as connection:
            asked += connection.execute("SELECT count(*) FROM answers").fetchone()[0]
    *rows, total = page.table("Answers by stage and model")[1:]
    assert int(number(total[2])) == asked == sum(int(number(row[2])) for row in rows)
    assert any(row[0] == "pairs, control sft_own" for row in rows)
    assert f"Nothing was paid for {asked:,} answers" in page.words


def test_the_commands_on_the_page_reproduce_the_run(tmp_path: Path) -> None:
    rows = [{"id": str(n), "prompt": f"q {n}", "responses": {"a": "x", "b": f"{n}"}} for n in "12"]
    (tmp_path / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = "pair --prompts said.jsonl --pairer ladder --output one --pairer.rungs"
    rungs = ["recorded:said.jsonl#a", "--pairer.rungs", "recorded:said.jsonl#b"]
    printed = command(tmp_path, *line.split(), *rungs)
    assert printed.endswith("report    one/report.html\n")
    text = (tmp_path / "one" / "report.html").read_text()
    (again,) = re.findall(r"<pre>(.*?)</pre>", text)
    (options,) = re.findall(r"<pre tabindex[^>]*>(.*?)</pre>", text, re.DOTALL)
    (tmp_path / "options.yaml").write_text(html.unescape(options))
    command(tmp_path, *again.replace("DIR", "two").split()[1:])
    one, two = (tmp_path / name / "pairs.parquet" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    record = yaml.safe_load((tmp_path / "one" / "run.yaml").read_text())
    page = Page(text)
    assert dict(page.table("Versions")) == record["versions"]
    known = record["stages"]["pairs"]["content"]
    digests = {(row[0], row[1]): row[2] for row in page.table("Digests")}
    address = "pairer.rungs.1.source"
    assert digests[address, "said.jsonl#b"] == known[address]
    assert digests["prompts.parquet", ""] == known["prompts.parquet"]


def test_code_that_did_not_come_with_cpt_is_named(lab: Path, page: Page) -> None:
    code = yaml.safe_load((lab / "run.yaml").read_text())["stages"]["scores"]["code"]
    (address,) = code
    assert dict(page.table("Code that is not part of cpt"))[address] == code[address]
    assert "cpt -p FILE.py" in page.words


# What is not there


def test_nothing_is_written_before_anything_is_done(tmp_path: Path) -> None:
    assert report.write(tmp_path) is None
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def pairs_only(run: Path) -> Path:
    """A run that ended after `pair`."""
    record = yaml.safe_load((run / "run.yaml").read_text())
    record["stages"] = {name: record["stages"][name] for name in ("prompts", "pairs")}
    (run / "run.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    for file in run.iterdir():
        if file.name not in ("run.yaml", "pairs.parquet", "outcomes.jsonl", "journal.sqlite"):
            shutil.rmtree(file) if file.is_dir() else file.unlink()
    return run


def test_a_run_of_pairs_alone(pairs_only: Path) -> None:
    page = page_of(pairs_only)
    assert "Nothing was measured" in page.words
    assert "No model was trained." in page.words
    assert "Pairs in training" not in " ".join(page.tables)
    assert len(page.alts) == 3  # margins, distances, gaps
    assert "cpt pair --config options.yaml" in page.words


@pytest.mark.parametrize("file", ["pairs.parquet", "outcomes.jsonl", "journal.sqlite"])
def test_a_file_that_is_gone_takes_only_its_own_part(pairs_only: Path, file: str) -> None:
    (pairs_only / file).unlink()
    page = page_of(pairs_only)
    there = {
        "pairs.parquet": "by authors and tier" in " ".join(page.tables),
        "outcomes.jsonl": "every prompt" in " ".join(page.tables),
        "journal.sqlite": "Answers by stage" in " ".join(page.tables),
    }
    assert there == {name: name != file for name in there}


def test_a_prompt_without_an_outcome_is_counted_as_such(pairs_only: Path) -> None:
    outcomes = (pairs_only / "outcomes.jsonl").read_text().splitlines(keepends=True)
    (pairs_only / "outcomes.jsonl").write_text("".join(outcomes[:-2]) + outcomes[-2][:20])
    rows = page_of(pairs_only).table("every prompt")
    assert rows[-2][:2] == ["not recorded", "2"]
    assert rows[-1][1] == str(len(outcomes))


def test_a_training_that_was_killed(run: Path) -> None:
    record = yaml.safe_load((run / "run.yaml").read_text())
    stages = record["stages"]
    del stages["controls"], stages["scores"], stages["model"]["seconds"]
    stages["model"]["state"] = "begun"
    (run / "run.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    (run / "scores.json").unlink()
    logged = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(logged[:4]) + logged[4][:30])
    page = page_of(run)
    assert "Not finished: training." in page.words
    assert "the last logged step is 4" in page.words
    assert dict(page.table("Last logged metrics"))["step"] == "4"


def test_a_single_line_of_metrics_is_no_curve(run: Path) -> None:
    logged = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text(logged[0])
    page = page_of(run)
    assert "log-probability in nats" not in page.drawn
    assert "averaged over step 1." in page.words and "1 to 1" not in page.words


@pytest.mark.parametrize(
    ("loss", "drawn", "said"),
    [
        ("sft", 2, "This loss has no reference model"),
        ("slic", 4, "This loss has no reference model"),
        ("apo_zero", 5, "compared with the reference model"),
    ],
)
def test_a_loss_shows_what_it_has(
    tmp_path: Path, model: Path, loss: str, drawn: int, said: str
) -> None:
    rows = [{"prompt": f"q {n}", "chosen": f"good {n}", "rejected": f"bad {n}"} for n in range(12)]
    rows.append({"prompt": "q", "chosen": "same", "rejected": "same"})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    line = f"train --pairs pairs.jsonl --loss {loss} --train.batch-size 4 --train.log-every 1"
    command(tmp_path, *line.split(), "--model", str(model), "--output", "run")
    page = page_of(tmp_path / "run")
    curves = [alt for alt in page.alts if " over 3 steps" in alt]
    assert len(curves) == drawn
    assert said in page.words
    assert page.table("every pair")[1:] == [
        ["kept", "12", "92%", ""],
        ["identical", "1", "7.7%", "13: both sides are the same"],
        ["all", "13", "100%", ""],
    ]
    assert "No model was asked, so nothing was paid." in page.words
    assert ("rejected" in {row[0] for row in page.table("Log-probability of")}) == (loss != "sft")


def logged(run: Path, more: Mapping[str, float], without: str = "\0") -> None:
    """Change every line of metrics: add `more`, remove names that begin with `without`."""
    changed = [
        {name: value for name, value in line.items() if not name.startswith(without)} | dict(more)
        for line in lines(run / "metrics.jsonl")
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in changed))


def test_log_ratios_are_not_rewards_over_beta(run: Path) -> None:
    """A loss may scale its rewards by something else than its `beta`."""
    logged(run, {"rewards/chosen": 40.0, "logratios/chosen": 2.0, "logratios/rejected": 1.0})
    page = page_of(run)
    said = "chosen answers rose by 2 nats (7.39 times as likely). The log-probability of the"
    assert said in page.words
    assert "Both sides became more likely, the chosen side more so." in page.words


def test_without_logged_log_ratios_there_is_no_reference(run: Path) -> None:
    logged(run, {}, without="logratios")
    page = page_of(run)
    assert "This loss has no reference model" in page.words
    assert page.table("Log-probability of an answer")[1][3:] == [DASH, DASH]
    assert "change in nats" not in page.drawn


def test_metrics_of_the_loss_itself_have_curves(run: Path) -> None:
    logged(run, {"mine/<b>temperature": 0.25})
    page = page_of(run)
    assert "mine/<b>temperature" in page.drawn
    assert "mine/<b>temperature: logged by the loss." in page.words
    assert dict(page.table("Last logged metrics"))["mine/<b>temperature"] == "0.25"
    assert not [text for text in page.drawn if text.startswith(("rewards/", "logps/", "grad"))]


def test_a_training_that_diverged_has_a_page(run: Path) -> None:
    whole = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    logged(run, dict.fromkeys(("loss", "logratios/chosen", "mine/x"), float("nan")))
    diverged = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join([*whole[:3], *diverged[3:]]))
    page = page_of(run)
    assert "this training diverged" in page.words
    assert "mine/x" not in page.drawn
    assert "nan" not in " ".join(page.drawn)
    assert not re.search(r'="[^"]*nan', (run / "report.html").read_text())


@pytest.mark.parametrize(
    ("chosen", "rejected", "said"),
    [
        (1.0, -1.0, "moved apart in the direction that the pairs ask for"),
        (-1.0, -2.0, "Both sides became less likely, the rejected side more so."),
        (-2.0, -1.0, "Both sides became less likely, the chosen side more so."),
        (1.0, 2.0, "Both sides became more likely, the rejected side more so."),
        (-1.0, 1.0, "moved against the direction that the pairs ask for"),
        (0.0, 0.0, "The log-probability of the chosen answers did not change."),
        (30.0, -1.0, "The log-probability of the chosen answers rose by 30 nats."),
    ],
)
def test_where_the_sides_went_is_in_sentences(
    lab: Path, chosen: float, rejected: float, said: str
) -> None:
    found = read_run(lab)
    assert found is not None and found.curves is not None
    sides = [
        attrs.evolve(side, log_ratio=ratio)
        for side, ratio in zip(found.curves.sides, (chosen, rejected), strict=True)
    ]
    assert said in about_training(attrs.evolve(found.curves, sides=tuple(sides)))


# What it cost


def test_a_price_that_nobody_knows_is_not_nothing(tmp_path: Path) -> None:
    (tmp_path / "dear.py").write_text(source("dear"))
    (tmp_path / "prices.yaml").write_text(PRICES)
    rows = "".join(json.dumps({"id": str(n), "prompt": f"q {n}"}) + "\n" for n in range(2))
    (tmp_path / "prompts.jsonl").write_text(rows)
    line = ["-p", "dear.py", "pair", "--prompts", "prompts.jsonl", "--pairer", "taller", "--output"]
    command(tmp_path, *line, "unknown")
    page = page_of(tmp_path / "unknown")
    assert "Unknown: the price of all 2 answers is unknown." in page.words
    assert page.table("Answers by stage")[1][-1] == "unknown"
    assert "$" not in page.words
    command(tmp_path, *line, "known", "--prices", "prices.yaml")
    page = page_of(tmp_path / "known")
    assert "$2.0000 for 2 answers." in page.words
    assert page.table("Answers by stage")[1][-1] == "$2.0000"


def test_a_run_that_was_stopped_by_its_budget_has_a_page_too(cpt_cli: Any, tmp_path: Path) -> None:
    (tmp_path / "dear.py").write_text(source("dear"))
    (tmp_path / "prices.yaml").write_text(PRICES)
    rows = "".join(json.dumps({"id": str(n), "prompt": f"q {n}"}) + "\n" for n in range(4))
    (tmp_path / "prompts.jsonl").write_text(rows)
    line = "-p dear.py pair --prompts prompts.jsonl --pairer taller --prices prices.yaml --budget 3"
    assert cpt_cli(*line.split(), "--output", "run").exit_code == 1
    assert not (tmp_path / "run" / "report.html").exists()
    assert cpt_cli("report", "--output", "run").exit_code == 0
    page = Page((tmp_path / "run" / "report.html").read_text())
    assert [row[:2] for row in page.table("every prompt")[1:]] == [
        ["kept", "3"],
        ["over_budget", "1"],
        ["all", "4"],
    ]
    assert "taller pairs" in page.words
    assert "There are no pairs yet." in page.words
    assert "$3.0000 for 3 answers." in page.words


def test_a_bill_that_is_known_in_part_is_a_lower_bound(lab: Path) -> None:
    known = Charge("pairs", "a", 3, 30, 0, 6, 0.5, 1)
    unknown = Charge("pairs", "b", 2, 20, 0, 4, None, 2)
    found = read_run(lab)
    assert found is not None
    page = Page(render(attrs.evolve(found, costs=Costs(charges=(("", known), ("", unknown))))))
    assert "At least $0.5000; the price of 3 answers is unknown." in " ".join(page.words.split())
    paid = [row[-1] for row in page.table("Answers by stage")[1:]]
    assert paid == ["$0.5000 and 1 answer of unknown price", "unknown", "$0.5000 and more"]


# What models may say


HOSTILE = {
    "script": "<script>document.title='owned'</script><img src=x onerror=alert(1)>",
    "close": "</div></article></main></style></svg>&amp;&lt;",
    "lines": "one\n\n  two\r\nthree\ttab",
    "right": "\u05e9\u05dc\u05d5\u05dd \u202eevil\u202c \u2067x",
    "control": "a\x00b\x07c\x1b[31md\u0085e",
    "maths": "$x_1$ costs $5 {{ 7 * 7 }} {% if %}",
    "long": "word " * 250_000,
    "wide": "x" * 3000,
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of models that say, and are called, what a page should fear."""
    folder = tmp_path_factory.mktemp("hostile")
    names = ["<u>a$1_2$\u202e", "b'\"><script>x</script>" + "n" * 60]
    rows = [
        {"id": f"<i>{key}", "prompt": said[:500], "responses": {names[0]: said, names[1]: said[1:]}}
        for key, said in HOSTILE.items()
    ]
    (folder / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rungs = [word for name in names for word in ("--pairer.rungs", f"recorded:said.jsonl#{name}")]
    line = ["pair", "--prompts", "said.jsonl", "--pairer", "ladder", *rungs, "--output", "run"]
    command(folder, *line)
    return folder / "run"


def test_whatever_a_model_says_is_text(hostile: Path) -> None:
    page = page_of(hostile)
    assert not {"img", "i", "u"} & set(page.tags)
    assert page.tags["script"] == OWN_SCRIPTS
    text = (hostile / "report.html").read_text(encoding="utf-8")
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "\\u202e" in text and "c\\u001b[31md" in text
    assert len(text) < 200_000


def test_a_name_in_a_plot_is_text(run: Path) -> None:
    name = "<i>at $t_1$\u202e & more"
    scores = (run / "scores.json").read_text().replace('"cooled"', json.dumps(name))
    (run / "scores.json").write_text(scores)
    page = page_of(run)
    assert "<i>at $t_1$ & more" in page.drawn
    assert "i" not in page.tags


def test_the_lab_page_is_small_and_loads_no_torch(lab: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from cpt import report\n"
        f"print(report.write(Path({str(lab)!r})).stat().st_size)\n"
        "print([name for name in ('torch', 'pandas', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    size, heavy = done.stdout.splitlines()
    assert int(size) < 300_000
    assert heavy == "[]"


def test_a_long_answer_is_cut_and_the_page_says_so(hostile: Path) -> None:
    found = read_run(hostile)
    assert found is not None and found.pairs is not None
    cut = {pair.chosen.length for pair in found.pairs.examples if pair.chosen.is_cut}
    words = " ".join(page_of(hostile).words.split())
    assert cut
    assert "Edit distance of 7 pairs" in words
    assert "1 pair with an answer of more than 20,000 characters left out." in words
    for length in cut:
        assert f"Cut here: 1,500 of {length:,} characters are shown." in words


def test_no_secret_comes_onto_the_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = "marked-key-4f9c1d7e"
    monkeypatch.setenv("SOME_API_KEY", key)
    record = yaml.safe_load((run / "run.yaml").read_text())
    hidden = {
        "base_url": f"https://user:hunter2@host.example/v1?api_key=hunter3&x=1#{key}",
        "api_key": "hunter4",
        "api_key_env": "SOME_API_KEY",
    }
    record["options"]["pairer"]["rungs"][0] |= hidden
    record["stages"]["pairs"]["options"]["pairer"]["rungs"][0] |= hidden
    (run / "run.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    outcomes = (run / "outcomes.jsonl").read_text().replace('"detail": "', f'"detail": "{key} ')
    (run / "outcomes.jsonl").write_text(outcomes)
    scores = (run / "scores.json").read_text().replace('"cooled"', f'"{key}"')
    (run / "scores.json").write_text(scores)
    page = page_of(run)
    for secret in ("hunter", key):
        assert secret not in (run / "report.html").read_text()
    assert "https://***@host.example/v1?api_key=***&x=1#***" in page.words
    assert "api_key_env: SOME_API_KEY" in page.words
    assert "What looks like a secret is replaced by *** here" in page.words


# The same run, the same bytes


def test_the_same_run_gives_the_same_page(run: Path, tmp_path: Path) -> None:
    before = (run / "report.html").read_bytes()  # as the walk itself wrote it
    run.rename(tmp_path / "moved")
    (tmp_path / "moved" / "report.html").unlink()
    line = ("report", "--output", "moved")
    printed = in_a_process(tmp_path, *line, PYTHONHASHSEED="7", TZ="Asia/Tokyo", LC_ALL="C")
    assert printed.endswith("in        moved\nreport    moved/report.html\n")
    assert (tmp_path / "moved" / "report.html").read_bytes() == before


def test_what_a_program_reads_is_as_it_was(run: Path, tmp_path: Path) -> None:
    printed = json.loads(command(tmp_path, "report", "--output", "run", "--json"))
    assert list(printed) == ["output", "stages", "bill", "scores", "change", "disagreements"]


@pytest.mark.parametrize("file", ["scores.json", "doctor.json", "metrics.jsonl", "run.yaml"])
def test_a_damaged_file_is_one_line(run: Path, cpt_cli: Any, file: str) -> None:
    (run / file).write_text("{]\n{]\n")
    page = (run / "report.html").read_bytes()
    result = cpt_cli("report", "--output", run)
    assert result.exit_code == 2, result.exception
    assert len(result.stderr.splitlines()) == 1
    assert file in result.stderr
    assert (run / "report.html").read_bytes() == page


ODD = ("null", "5", '"x"', "[]", "[1, [2]]", "{}", '{"step": "a"}', '{"step": 3, "loss": [1]}')
DEEPER = (
    '{"scores": {"after": {"a": {"value": {}, "low": 1, "high": 2}}}}',
    '{"scores": {"after": {"a": {"value": 1, "low": 0, "high": 2, "missing": {"p": {"x": 1}}}}}}',
    '{"findings": [{}], "counts": {"same": 1}, "kept": "many", "pairs": null, "day": 7}',
    '{"outcome": [], "prompt_id": 1, "detail": {}, "dropped": 5}',
    '{"options": [], "stages": {"pairs": {"state": "done", "summary": [1]}}}',
    '{"options": {"loss": 3}, "stages": {"model": {"state": "done", "seconds": "long"}}}',
)


@pytest.mark.parametrize("file", ["scores.json", "doctor.json", "outcomes.jsonl", "metrics.jsonl"])
def test_a_file_of_another_shape_is_one_line_or_counts_for_nothing(
    run: Path, cpt_cli: Any, file: str
) -> None:
    for content in (*ODD, *DEEPER):
        (run / file).write_text(f"{content}\n")
        result = cpt_cli("report", "--output", run)
        assert result.exit_code in (0, 2), (content, result.exception)
        if result.exit_code:
            assert len(result.stderr.splitlines()) == 1 and file in result.stderr, content


@pytest.mark.parametrize("key", ["kept", "pairs", "chosen_tokens", "counts"])
@pytest.mark.parametrize("value", ["x", [None], {"a": "b"}])
def test_one_thing_changed_in_the_findings_is_one_line(
    run: Path, cpt_cli: Any, key: str, value: Any
) -> None:
    findings = json.loads((run / "doctor.json").read_text())
    (run / "doctor.json").write_text(json.dumps({**findings, key: value}))
    result = cpt_cli("report", "--output", run)
    assert result.exit_code == 2, result.exception
    assert len(result.stderr.splitlines()) == 1 and "not as cpt wrote it" in result.stderr
    assert "attrs" not in result.stderr and "Attribute(" not in result.stderr


def test_a_finding_about_all_pairs_has_no_first_one(run: Path) -> None:
    found = json.loads((run / "doctor.json").read_text())
    found |= {"counts": {"length_tells": 3}, "findings": []}
    (run / "doctor.json").write_text(json.dumps(found))
    words = page_of(run).words
    assert "3 pairs length_tells" in " ".join(words.split()) and "the first is" not in words


def test_a_record_of_another_shape_is_one_line(run: Path, cpt_cli: Any) -> None:
    for content in (*ODD, *DEEPER):
        (run / "run.yaml").write_text(f"{content}\n")
        result = cpt_cli("report", "--output", run)
        assert result.exit_code in (0, 2), (content, result.exception)
        assert len(result.stderr.splitlines()) == (1 if result.exit_code else 0), content


def _renamed(path: Path) -> Any:
    table = pq.read_table(path)
    return table.rename_columns([f"{name}2" for name in table.column_names])


@pytest.mark.parametrize("file", ["pairs.parquet", "order.parquet"])
def test_a_table_of_another_shape_is_one_line(run: Path, cpt_cli: Any, file: str) -> None:
    pq.write_table(_renamed(run / file), run / file)
    result = cpt_cli("report", "--output", run)
    assert result.exit_code == 2, result.exception
    assert len(result.stderr.splitlines()) == 1 and file in result.stderr


# The parts


def test_the_change_and_the_controls_are_in_sentences(lab: Path) -> None:
    found = read_run(lab)
    assert found is not None
    (first, *_) = found.scores
    before, after, *controls = first.results
    sure = Score(value=0.24, low=0.227, high=0.253)
    unsure = Score(value=-0.007, low=-0.02, high=0.006)
    score = Score(value=0.5, low=0.486, high=0.514)
    said = about_scores(
        attrs.evolve(
            first,
            decimals=3,
            results=(
                attrs.evolve(before, score=score),
                attrs.evolve(after, score=score, change=sure),
                attrs.evolve(controls[0], model="a", lead=sure),
                attrs.evolve(controls[1], model="b", lead=unsure),
            ),
        )
    )
    assert said.replace("\u00a0", " ") == (
        "The score was 0.500 ± 0.014 before training and is 0.500 ± 0.014 after. On the same "
        "prompts it rose: +0.240 ± 0.013. Compared with the controls it is higher than a (by "
        "0.240); not clearly different from b."
    )


def test_no_plot_has_a_colour_of_its_own(lab: Path) -> None:
    """So that the page decides it, in light and in dark."""
    plots = re.findall("<svg.*?</svg>", (lab / "report.html").read_text(), re.DOTALL)
    assert plots
    for plot in plots:
        assert not re.search("#[0-9a-f]{3}|style=|fill=|stroke=|rgb", plot)
    classes = {
        name
        for plot in plots
        for names in re.findall('class="(.*?)"', plot)
        for name in names.split()
    }
    css = (Path(report.__file__).parent / "templates" / "style.css").read_text()
    assert classes - {"control"} <= set(re.findall(r"\.([a-z]+)", css))


# In a browser


@attrs.frozen
class Seen:
    """What a browser made of a page."""

    dom: str
    console: list[str]


def look(page: Path, profile: Path, *more: str) -> Seen:
    """Open a page from the disk in a real browser that can reach nothing else."""
    assert BROWSER is not None
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    flags.append("--virtual-time-budget=10000")  # until the page's own script is done
    apart = [f"--user-data-dir={profile}", "--host-resolver-rules=MAP * ~NOTFOUND"]
    done = subprocess.run(
        [BROWSER, *flags, *apart, *more, "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return Seen(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])


def received(run: Path, folder: Path) -> Path:
    """The page alone, as somebody would receive it."""
    report.write(run)
    return Path(shutil.copy(run / "report.html", folder / "received.html"))


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_a_browser_shows_it_alone_and_complains_of_nothing(hostile: Path, tmp_path: Path) -> None:
    page = received(hostile, tmp_path)
    seen = look(page, tmp_path / "profile")
    assert seen.console == []
    found = Page(seen.dom)
    assert faults(found) == []
    assert found.tags["script"] == OWN_SCRIPTS
    assert "owned" not in re.findall("<title>(.*?)</title>", seen.dom)[0]
    sent = Page(page.read_text(encoding="utf-8"))
    assert (found.alts, found.tables) == (sent.alts, sent.tables)
    assert found.contents[: len(sent.contents)] == sent.contents
    browsed = found.contents[len(sent.contents) :]
    assert HOSTILE["script"] in browsed
    assert not [text for text in browsed if "\u202e" in text or "\x1b" in text]


def inside(page: Path, script: str, width: int = 360) -> None:
    """Put a page into a frame as narrow as a phone, which no window is, and a script into it."""
    text = re.sub("<meta http-equiv[^>]*>", "", page.read_text(encoding="utf-8"))
    framed = html.escape(text.replace("</body>", f"{script}</body>"))
    frame = f'<html style="color-scheme: light dark"><iframe width={width} srcdoc="{framed}">'
    page.write_text(f"<!doctype html>{frame}", encoding="utf-8")


MEASURE = """
<script>
const light = color => {
    const part = color.match(/[0-9.]+/g).slice(0, 3).map(v => v / 255)
        .map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * part[0] + .7152 * part[1] + .0722 * part[2];
};
const ground = node => {
    for (; node; node = node.parentElement) {
        const color = getComputedStyle(node).backgroundColor;
        if (!color.endsWith(', 0)')) return color;
    }
};
const contrast = node => {
    const style = getComputedStyle(node);
    const ink = node.namespaceURI.endsWith('svg') ? style.fill : style.color;
    const both = [light(ink), light(ground(node))].sort((a, b) => b - a);
    return (both[0] + .05) / (both[1] + .05);
};
const measure = () => {
const root = document.documentElement;
const words = 'p, h1, h2, h3, h4, td, th, caption, mark, a, text, button, select, input, label';
const read = [...document.querySelectorAll(words)];
const captions = [...document.querySelectorAll('caption')].map(
    node => Math.floor(node.getBoundingClientRect().right));
const boxes = [...document.querySelectorAll('svg')].map(
    plot => [...plot.querySelectorAll('text')].map(node => node.getBoundingClientRect()));
const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
const over = boxes.map(own => own.filter((a, i) => own.some((b, j) => i < j && meet(a, b))).length);
parent.document.title = [
    innerWidth, Math.max(root.scrollWidth, ...captions), Math.min(...read.map(contrast)),
    Math.max(...over),
].join(' ');
};
const ready = () => document.getElementById('browser').hidden ? setTimeout(ready, 20) : measure();
ready();
</script>
"""
"""Writes into the title: the width of the window, that of the page or of a caption, the least
contrast of any words, and how many labels of a plot are under another one."""


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
@pytest.mark.parametrize(("name", "scheme"), [("lab", 0), ("lab", 1), ("hostile", 1)])
def test_nothing_is_wider_than_a_phone_and_all_can_be_read(
    name: str, scheme: int, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """In the dark (0) and by day (1)."""
    page = received(request.getfixturevalue(name), tmp_path)
    inside(page, MEASURE)
    seen = look(page, tmp_path / "profile", f"--blink-settings=preferredColorScheme={scheme}")
    title = re.findall("<title>(.*?)</title>", seen.dom)[0]
    inner, wide, contrast, overlapping = map(float, title.split())
    assert wide <= inner
    assert 350 < inner <= 360
    assert contrast >= 4.5
    assert overlapping == 0


REACH = """
<script>
const shown = node => node.getClientRects().length > 0;
const named = nodes => nodes.map(node => node.outerHTML.slice(0, 80));
const look = () => {
    const all = [...document.querySelectorAll('*')].filter(shown);
    const controls = all.filter(node => node.matches('a[href], button, input, select'));
    const active = controls.filter(node => !node.disabled);
    const scrolls = all.filter(node => node.scrollWidth > node.clientWidth + 1
        && ['auto', 'scroll'].includes(getComputedStyle(node).overflowX));
    const reached = node => { node.focus(); return document.activeElement === node; };
    const unreached = [...active, ...scrolls].filter(node => node.tabIndex < 0 || !reached(node));
    const unnamed = active.filter(node => !(node.textContent.trim() || node.ariaLabel));
    const sheet = document.styleSheets[0];
    const print = [...sheet.cssRules].filter(rule => rule.conditionText === 'print');
    const before = [...document.querySelectorAll('h2')].filter(shown);
    print.flatMap(rule => [...rule.cssRules]).forEach(
        rule => sheet.insertRule(rule.cssText, sheet.cssRules.length));
    const gone = before.filter(node => !shown(node));
    const cut = [...document.querySelectorAll('.wide')].filter(
        node => shown(node) && getComputedStyle(node).overflowX !== 'visible');
    const rest = [...document.querySelectorAll('button, input, select')].filter(shown);
    parent.document.title = JSON.stringify([
        active.length, scrolls.length, named(unreached), named(unnamed), before.length,
        named([...gone, ...cut, ...rest]),
    ]);
};
const ready = () => document.getElementById('browser').hidden ? setTimeout(ready, 20) : look();
ready();
</script>
"""
"""Writes into the title: how many controls there are, and how many parts scroll; which of them no
key reaches, and which have no name; how many sections there are, and what is wrong on paper."""


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_keys_reach_every_control_and_paper_has_every_section(lab: Path, tmp_path: Path) -> None:
    page = received(lab, tmp_path)
    inside(page, REACH, width=390)
    seen = look(page, tmp_path / "profile")
    title = html.unescape(re.findall("<title>(.*?)</title>", seen.dom)[0])
    controls, scrolling, unreached, unnamed, sections, on_paper = json.loads(title)
    assert controls > 10 and scrolling > 0 and sections > 4
    assert (unreached, unnamed) == ([], [])
    assert on_paper == []


FLAG = """
<script>
const act = () => {
    const box = document.getElementById('browser');
    const texts = () => [...box.querySelectorAll('article > h4:first-child')].map(
        heading => heading.textContent);
    const press = name => [...box.querySelectorAll('button')].find(
        button => button.textContent.startsWith(name)).click();
    const all = texts().length;
    const search = box.querySelector('input[type=search]');
    search.value = 'MIDDLE SAYS 7';
    search.oninput();
    const found = texts();
    press('drop');
    press('swap');
    box.querySelector('.flags input').value = 'why';
    box.querySelector('.flags input').onchange();
    HTMLAnchorElement.prototype.click = () => {};
    URL.createObjectURL = blob => {
        blob.text().then(saved => parent.document.title = JSON.stringify([all, found, saved]));
        return '#';
    };
    press('Save');
};
const ready = () => document.getElementById('browser').hidden ? setTimeout(ready, 20) : act();
ready();
</script>
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium here")
def test_all_pairs_can_be_searched_and_flagged(run: Path, tmp_path: Path) -> None:
    page = received(run, tmp_path)
    inside(page, FLAG)
    seen = look(page, tmp_path / "profile")
    title = html.unescape(re.findall("<title>(.*?)</title>", seen.dom)[0])
    shown, found, saved = json.loads(title)
    assert shown == 10
    matching = [pair.id for pair in cpt.open_run(run).pairs if _says(pair, "middle says 7")]
    assert [heading.partition(",")[0] for heading in found] == matching != []
    assert json.loads(saved) == {"pair_id": matching[0], "flag": "swap", "note": "why"}


def _says(pair: cpt.Pair, text: str) -> bool:
    return text in pair.chosen.text or text in pair.rejected.text


def test_only_the_script_of_the_page_may_run(run: Path) -> None:
    text = (run / "report.html").read_text(encoding="utf-8")
    (script,) = re.findall("<script>(.*?)</script>", text, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall('Content-Security-Policy" content="(.*?)"', text)
    assert policy.startswith("default-src 'none';")
    assert policy.endswith(f"; script-src 'sha256-{digest}'")


def test_a_page_holds_pairs_until_it_is_too_large_to_send(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_browser(run, 0)
    assert whole and whole.pairs == whole.of > 20
    monkeypatch.setattr(browser, "LARGEST", len(whole.packed) - 1)
    half = read_browser(run, 0)
    assert half and half.pairs == whole.of // 2 and half.of == whole.of
