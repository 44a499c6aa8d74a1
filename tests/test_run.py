"""The whole pipeline on a small ladder: pairs, losses, a model that loads, a folder that holds."""

import json
import signal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from cpt import config
from cpt.config import Layer, flatten
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt.run.events import Events
from cpt.run.pipeline import PAIRS
from cpt.run.record.folder import Folder
from cpt.run.stage import Run

from . import tiny
from .plugins import source

AUTHORS = ("large", "middle", "small")


PRICES = "dear.example: {dear: {date: 2026-01-01, input: 0, output: 1}}\n"
DEAR = source("dear")


BROKEN = '''
"""A loss that is no number."""

import attrs
import cpt


@attrs.frozen
class Broken(cpt.Loss):
    """Not a number."""

    name = "broken"

    def __call__(self, batch):
        return batch.chosen.ratio * float("nan")


@cpt.hookimpl
def cpt_losses():
    return [Broken]
'''


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def ladder(tmp_path):
    """Twelve prompts, each answered by three authors; on one of them two agree."""
    rows: list[dict[str, Any]] = [
        {
            "id": str(row),
            "prompt": f"question {row}",
            "responses": {author: f"{author} says {row}" for author in AUTHORS},
        }
        for row in range(12)
    ]
    rows[3]["responses"]["small"] = rows[3]["responses"]["middle"]
    path = tmp_path / "ladder.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def line(ladder, *more):
    rungs = [
        word for author in AUTHORS for word in ("--pairer.rungs", f"recorded:{ladder}#{author}")
    ]
    return ["--prompts", ladder, "--pairer", "ladder", *rungs, "--output", "run", *more]


def training(model, *more):
    return ["--model", model, "--train.batch-size", "4", "--train.learning-rate", "1e-3", *more]


def test_an_option_is_taken_back_by_no_text(cpt_cli, ladder):
    def prompts(*more):
        result = cpt_cli("pair", *line(ladder, "--json", *more))
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)["stages"]["prompts"]["prompts"]

    assert prompts("--limit", "3") == 3
    assert prompts() == 3
    assert prompts("--limit", "", "--redo") == 12


def test_pairs_of_a_ladder_are_labelled_by_rank_and_counted(cpt_cli, ladder):
    result = cpt_cli("pair", *line(ladder, "--json"))
    assert result.exit_code == 0, result.stderr
    stages = json.loads(result.stdout)["stages"]
    assert stages["pairs"] == {"pairs": 35, "dropped": {"identical": 1}, "outcomes": {"kept": 12}}
    rows = pq.read_table("run/pairs.parquet").to_pylist()
    assert [row["tier"] for row in rows].count(2) == 12
    assert {(row["chosen_author"], row["rejected_author"]) for row in rows if row["tier"] == 2} == {
        ("large", "small")
    }
    assert "3/middle>small" in cpt_cli("pair", *line(ladder)).stdout


@pytest.mark.parametrize("loss", ["sft", "slic", "dpo", "apo_zero", "apo_down"])
def test_every_loss_writes_a_model_that_loads_and_speaks(cpt_cli, ladder, model, loss):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    more = ("--scheduler", "curriculum", "--loss", loss)
    result = cpt_cli(*line(ladder, *training(model, *more)))
    assert result.exit_code == 0, result.stderr
    trained = AutoModelForCausalLM.from_pretrained("run/model")
    tokenizer = AutoTokenizer.from_pretrained("run/model")
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "question 1"}], return_tensors="pt", add_generation_prompt=True
    )
    assert trained.generate(**ids, max_new_tokens=3).shape[1] > ids["input_ids"].shape[1]
    before = AutoModelForCausalLM.from_pretrained(model).state_dict()
    assert any((trained.state_dict()[name] != before[name]).any() for name in before)
    metrics = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert metrics[-1]["step"] == 3  # twelve prompts, one pair each


def test_stages_one_by_one_are_the_whole_pipeline(cpt_cli, ladder, model):
    assert cpt_cli("pair", *line(ladder)).exit_code == 0
    result = cpt_cli("train", "--output", "run", *training(model, "--loss", "dpo"))
    assert result.exit_code == 0, result.stderr
    record = yaml.safe_load(Path("run/run.yaml").read_text())
    assert {name: stage["state"] for name, stage in record["stages"].items()} == {
        "prompts": "done",
        "pairs": "done",
        "model": "done",
    }
    assert record["options"]["loss"]["name"] == "dpo"
    assert record["options"]["pairer"]["name"] == "ladder"


def test_what_is_done_is_not_done_again(cpt_cli, ladder, model):
    cpt_cli(*line(ladder, *training(model)))
    made = {path: path.stat().st_mtime_ns for path in Path("run").rglob("*.parquet")}
    assert made
    result = cpt_cli(*line(ladder, *training(model)))
    assert result.exit_code == 0
    assert "done in" not in result.stderr
    assert made == {path: path.stat().st_mtime_ns for path in Path("run").rglob("*.parquet")}


def test_other_options_or_other_data_are_refused_with_what_differs(cpt_cli, ladder, model):
    cpt_cli(*line(ladder, *training(model, "--loss", "dpo")))
    other = cpt_cli("train", "--output", "run", "--loss", "dpo", "--loss.beta", "0.5")
    assert other.exit_code == 2
    assert "loss.beta 0.1, not 0.5" in other.stderr
    ladder.write_text(ladder.read_text().replace("question 0", "another question"))
    changed = cpt_cli(*line(ladder, *training(model, "--loss", "dpo")))
    assert changed.exit_code == 2
    assert "content of prompts " in changed.stderr


def test_a_failed_try_does_not_bind_the_next(cpt_cli, ladder, model, tmp_path):
    missing = cpt_cli("train", "--pairs", "none.parquet", "--model", model, "--output", "run")
    assert missing.exit_code == 2
    assert not (tmp_path / "run").exists()
    no_model = cpt_cli(*line(ladder, *training(tmp_path / "none")))
    assert no_model.exit_code == 2
    assert len(no_model.stderr.splitlines()[-1:]) == 1
    again = cpt_cli(*line(ladder, *training(model)))
    assert again.exit_code == 0, again.stderr


def test_a_training_that_learned_nothing_does_not_bind_the_next(cpt_cli, ladder, model, tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    failed = cpt_cli("-p", "broken.py", *line(ladder, *training(model, "--loss", "broken")))
    assert failed.exit_code == 2 and "the loss is not finite" in failed.stderr
    again = cpt_cli(*line(ladder, *training(model, "--loss", "sft")))
    assert again.exit_code == 0, again.stderr
    steps = [json.loads(line)["step"] for line in (tmp_path / "run/metrics.jsonl").open()]
    assert steps == sorted(set(steps))


def test_how_models_are_asked_does_not_bind(tmp_path):
    registry = Registry.collect(load_plugins())

    def made(**reviser):
        told = {"pairer": {"name": "clair", "student": "openai:a", "reviser": reviser}}
        layers = [Layer("the defaults", dict(config.DEFAULTS)), Layer("", dict(flatten(told)))]
        resolved, events = config.resolve(layers, registry), Events(registry.plugins, tmp_path)
        return PAIRS.inputs(Run(resolved, Folder(tmp_path), registry, events))

    one = made(name="openai", model="b", concurrency=1)
    assert one == made(name="openai", model="b", concurrency=2)
    assert one != made(name="openai", model="c", concurrency=1)


def test_pairs_come_from_elsewhere_too(cpt_cli, model, tmp_path):
    rows = [
        {"prompt": f"q {row}", "chosen": f"good {row}", "rejected": f"bad {row}"}
        for row in range(4)
    ]
    rows.append({"prompt": "q", "chosen": "same", "rejected": "same"})
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = cpt_cli("train", "--pairs", "pairs.jsonl", "--output", "run", *training(model))
    assert result.exit_code == 0, result.stderr
    assert "pairs 4, dropped (identical 1)" in result.stdout


def test_a_killed_run_goes_on(commands, ladder, model, tmp_path):
    """SIGKILL in the middle of a training; the same command ends it, pairs untouched."""
    more = ("--train.epochs", "2", "--train.checkpoint-every", "3", "--train.log-every", "1")
    command = line(ladder, *training(model, *more))
    in_step_8 = ["cpt.training.loop._step", signal.SIGKILL, 8]
    killed = commands.one(*command, cwd=tmp_path, signals=[in_step_8])
    assert (killed.status, "step 7/18" in killed.err) == (-signal.SIGKILL, True)
    run = tmp_path / "run"
    assert not (run / "model").exists()
    pairs = (run / "pairs.parquet").stat().st_mtime_ns
    done = commands.one(*command, cwd=tmp_path)
    assert (done.status, "prompts done" in done.err) == (0, False), done.err
    assert (run / "pairs.parquet").stat().st_mtime_ns == pairs
    steps = [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 19))
    assert (run / "model" / "model.safetensors").exists()


def test_two_processes_share_one_training(commands, ladder, model, tmp_path):
    more = ("--train.log-every", "1", "--train.device", "cpu")
    told = line(ladder, *training(model, *more))
    env = {"CPT_CACHE": str(tmp_path / "cache")}
    alone = commands.one(*told, cwd=tmp_path, env=env)
    assert alone.status == 0, alone.err
    (tmp_path / "run").rename(tmp_path / "alone")
    together = commands.shared(*told, cwd=tmp_path, env=env)
    assert [ended.status for ended in together] == [0, 0], together
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / run / "metrics.jsonl").open()]
        for run in ("alone", "run")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_published_ladder(cpt_cli, published):
    ladder = published("ladder_805.jsonl")
    rungs = ("gpt4", "gpt-3.5-turbo-0301", "text_davinci_003")
    told = [word for rung in rungs for word in ("--pairer.rungs", f"recorded:{ladder}#{rung}")]
    result = cpt_cli("pair", "--prompts", ladder, "--pairer", "ladder", *told, "--output", "run")
    assert "pairs 2392, dropped (identical 23)" in result.stdout
    tiers = pq.read_table("run/pairs.parquet")["tier"].to_pylist()
    assert (tiers.count(2), tiers.count(1)) == (793, 1599)


def test_a_budget_that_is_used_up_stops_the_run_and_a_larger_one_goes_on(cpt_cli, tmp_path):
    """Answers cost a dollar each: five of twelve fit, and are not asked again."""
    (tmp_path / "dear.py").write_text(DEAR)
    (tmp_path / "prices.yaml").write_text(PRICES)
    rows = "".join(json.dumps({"id": str(n), "prompt": f"q {n}"}) + "\n" for n in range(12))
    (tmp_path / "prompts.jsonl").write_text(rows)
    told = ["-p", "dear.py", "pair", "--prompts", "prompts.jsonl", "--pairer", "taller"]
    told += ["--prices", "prices.yaml", "--output", "run"]
    short = cpt_cli(*told, "--budget", "5.5")
    assert short.exit_code == 1, short.output
    assert "budget is used up" in short.stderr
    asked = (tmp_path / "asked.log").read_text().split()
    enough = cpt_cli(*told, "--asking.budget", "50")
    assert enough.exit_code == 0, enough.output
    after = (tmp_path / "asked.log").read_text().split()
    assert "paid      pairs: dear $12.0000 for 12 answers" in enough.stdout
    assert len(asked) == 5
    assert sorted(after) == sorted(map(str, range(12)))


def test_a_price_that_nobody_knows_is_not_zero_wherever_it_is_said(cpt_cli, tmp_path):
    (tmp_path / "dear.py").write_text(DEAR)
    (tmp_path / "prices.yaml").write_text(PRICES)
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a"}\n{"prompt": "b"}\n')
    told = ["-p", "dear.py", "respond", "--prompts", "prompts.jsonl", "--responder", "dear"]
    bill = "responses: dear an unknown price for 2 answers (0 tokens in, 2000000 out)"
    asked = cpt_cli(*told, "--output", "run", "--json")
    assert json.loads(asked.stdout)["cost"] is None
    status = cpt_cli("-p", "dear.py", "respond", "--status", "--output", "run").stdout
    assert "cost unknown, unpriced 2" in status
    assert bill in status
    assert bill in cpt_cli("report", "--output", "run").stdout
    told = [*told, "--prices", "prices.yaml", "--samples", "2"]
    priced = cpt_cli(*told, "--output", "run")
    assert "cost 2, unpriced 0" in priced.stdout
    short = cpt_cli(*told, "--output", "other", "--budget", "3.5")
    assert short.exit_code == 1
    assert "1 requests have no answer yet; the same command with a larger --budget" in short.stderr
    (charge,) = json.loads(cpt_cli("report", "--output", "run", "--json").stdout)["bill"]
    assert (charge["stage"], charge["author"]) == ("responses", "dear")
    assert (charge["answers"], charge["dollars"], charge["unpriced"]) == (4, 2.0, 2)
    partly = "dear $2.0000 for 4 answers, 2 of unknown price"
    assert partly in cpt_cli("report", "--output", "run").stdout


def test_weights_that_are_none_are_one_line(cpt_cli, ladder, tmp_path):
    broken = tiny.folder(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"nothing of the kind")
    result = cpt_cli(*line(ladder, *training(broken)))
    assert result.exit_code == 2
    assert "no causal language model that can be loaded" in result.stderr


def test_how_a_training_is_computed_does_not_bind_it(cpt_cli, ladder, model):
    cpt_cli(*line(ladder, *training(model)))
    other = cpt_cli(
        "train", "--output", "run", "--train.micro-tokens", "64", "--train.log-every", "3"
    )
    assert other.exit_code == 0, other.stderr
