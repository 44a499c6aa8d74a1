"""The inputs of a stage: options, data, models and the code of plugins."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import attrs
import pytest
import yaml

import cpt
from cpt.asking.options import Asking
from cpt.run.record.code import code_of, installed
from cpt.run.record.inputs import code, content_digests, paths_in
from cpt.training.options import Training

from . import tiny
from .plugins import source

ASKS = source("asks")
MINE = source("mine")


@pytest.fixture
def model(tmp_path):
    return tiny.folder(tmp_path / "base")


LINE = """-p asks.py -p mine.py --prompts prompts.jsonl --pairer longer --pairer.responder paid
    --model base --loss mine --output run
    --train.batch-size 4 --train.learning-rate 1e-3 --train.log-every 1"""


@pytest.fixture
def run(cpt_cli, tmp_path, model):
    """The whole pipeline with two plugin files: `asks.py` makes the pairs, `mine.py` the loss."""
    (tmp_path / "asks.py").write_text(ASKS)
    (tmp_path / "mine.py").write_text(MINE)
    rows = [{"id": str(row), "prompt": f"question {row}"} for row in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return lambda *more: cpt_cli(*LINE.split(), *more)


def edit(file, before, after):
    text = Path(file).read_text()
    assert before in text
    Path(file).write_text(text.replace(before, after))


def stamps():
    """When each thing in the folder was written."""
    files = ("prompts.parquet", "pairs.parquet", "model/model.safetensors")
    return {file: Path("run", file).stat().st_mtime_ns for file in files}


def remade(before):
    now = stamps()
    return [file for file in before if now[file] != before[file]]


def asked():
    return len(Path("asked.log").read_text().split())


def test_an_edited_loss_is_refused_with_what_it_was_and_is(run):
    assert run().exit_code == 0
    was = yaml.safe_load(Path("run/run.yaml").read_text())["stages"]["model"]["code"]["loss"]
    edit("mine.py", "1.0 *", "2.0 *")
    before = stamps()
    refused = run()
    assert refused.exit_code == 2
    (line,) = refused.stderr.splitlines()
    assert f"stage 'model' was made with code of loss {was}, not mine.py " in line
    assert "--redo" in line
    assert remade(before) == []
    edit("mine.py", "2.0 *", "1.0 *")
    assert run().exit_code == 0
    assert remade(before) == []


def test_redo_trains_again_and_asks_nobody_again(run):
    run()
    first = tiny.read(Path("run"))
    before, answers = stamps(), asked()
    edit("mine.py", "1.0 *", "2.0 *")
    again = run("--redo")
    assert again.exit_code == 0, again.stderr
    assert remade(before) == ["model/model.safetensors"]
    assert asked() == answers
    second = tiny.read(Path("run"))
    assert [line["step"] for line in second] == [line["step"] for line in first]
    assert second[-1]["loss"] != first[-1]["loss"]
    before = stamps()
    assert run("--redo").exit_code == 0
    assert remade(before) == []


def test_pairs_are_made_again_from_the_journal_and_what_they_did_not_change_stays(run):
    run()
    before, answers = stamps(), asked()
    edit("asks.py", '"""Prefers', '"""Likes')
    refused = run()
    assert refused.exit_code == 2
    assert "stage 'pairs' was made with code of pairer, pairer.responder asks.py " in refused.stderr
    assert run("--redo").exit_code == 0
    assert remade(before) == ["pairs.parquet"]
    edit("asks.py", "the short answer", "a short answer")
    assert run("--redo").exit_code == 0
    assert remade(before) == ["pairs.parquet", "model/model.safetensors"]
    assert asked() == answers
    record = yaml.safe_load(Path("run/run.yaml").read_text())["stages"]
    assert list(record) == ["prompts", "pairs", "model", "controls", "scores"]


def test_a_model_of_other_pairs_is_not_measured(run, cpt_cli):
    run()
    edit("asks.py", "the short answer", "a short answer")
    plugins = ("-p", "asks.py", "-p", "mine.py")
    assert cpt_cli(*plugins, "pair", "--output", "run", "--redo").exit_code == 0
    refused = cpt_cli(*plugins, "eval", "--output", "run")
    assert refused.exit_code == 2
    assert "this model is of other pairs than the folder's" in refused.stderr
    refused = cpt_cli(*plugins, "train", "--output", "run")
    assert refused.exit_code == 2
    assert "content of pairs.parquet" in refused.stderr


def test_other_weights_under_the_same_path_are_another_model(run, tmp_path):
    run()
    before = stamps()
    tiny.model(seed=5).save_pretrained(tmp_path / "base")
    refused = run()
    assert refused.exit_code == 2
    assert "stage 'model' was made with content of model " in refused.stderr
    assert run("--redo").exit_code == 0
    assert remade(before) == ["model/model.safetensors"]


def test_a_half_done_training_does_not_go_on_with_other_code(run, monkeypatch):
    """Ctrl-C in the middle of a training, then an edit; the old code still continues."""
    from cpt.training import loop

    step = loop._step

    def interrupted(state):
        if state.done == 3:
            raise KeyboardInterrupt
        return step(state)

    more = ("--train.epochs", "3", "--train.checkpoint-every", "2")
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_step", interrupted)
        assert run(*more).exit_code == 130
    edit("mine.py", "1.0 *", "2.0 *")
    refused = run(*more)
    assert refused.exit_code == 2
    assert "stage 'model' was made with code of loss mine.py " in refused.stderr
    assert Path("run/checkpoints").exists()
    assert run(*more, "--redo").exit_code == 0
    steps = [line["step"] for line in tiny.read(Path("run"))]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_a_redo_that_was_killed_half_way_is_taken_up(run, monkeypatch):
    """Killed once the old model is gone, or half gone: neither is ever taken for a new one."""
    from cpt.run.record import folder

    run()
    edit("mine.py", "1.0 *", "2.0 *")
    removed = []

    def killed(path):
        removed.append(path.name)
        raise SystemExit(9)

    with monkeypatch.context() as patched:
        patched.setattr(folder, "_remove", killed)
        run("--redo")
    assert removed == ["model"]
    refused = run()
    assert refused.exit_code == 2
    assert "code of loss" in refused.stderr
    before = stamps()
    assert run("--redo").exit_code == 0
    assert remade(before) == ["model/model.safetensors"]


@pytest.mark.parametrize(
    "line",
    ["train --model run/model", "train --pairs run", "pair --prompts run/prompts.parquet"],
)
def test_what_would_be_made_again_from_itself_is_refused(run, cpt_cli, line):
    run()
    before = stamps()
    command, *more = line.split()
    refused = cpt_cli("-p", "asks.py", "-p", "mine.py", command, *more, "--redo", "--output", "run")
    assert refused.exit_code == 2
    assert "names what --redo would remove from run" in refused.stderr
    assert remade(before) == []


def test_what_a_run_holds_is_said_without_its_plugins(run, cpt_cli):
    run()
    assert "pairs 8" in cpt_cli("report", "--output", "run").stdout
    status = cpt_cli("respond", "--status", "--output", "run")
    assert status.exit_code == 0, status.stderr
    assert "answers 8" in status.stdout or "8 answers" in status.stdout


MEASURES = source("measures")


@pytest.fixture
def measured(run, tmp_path):
    """The same with scores, and beside it one control that is trained and one that is not."""
    (tmp_path / "measures.py").write_text(MEASURES)
    options = {
        "evaluators": "warmth",
        "generator": "speaker",
        "eval_prompts": "prompts.jsonl",
        "controls": {"cooled": {"temperature": 0.5}, "imitated": {"loss": "mine"}},
    }
    (tmp_path / "options.yaml").write_text(yaml.safe_dump(options))
    return lambda *more: run("-p", "measures.py", "--config", "options.yaml", *more)


def scored():
    scores = json.loads(Path("run/scores.json").read_text())["scores"]
    written = (Path("run/scores.json"), Path("run/controls/imitated/model/model.safetensors"))
    return scores["cooled"]["warmth/warmth"]["value"], *(
        file.stat().st_mtime_ns for file in written
    )


def test_fewer_may_be_measured_than_the_run_was_made_of(measured):
    def counted(*more):
        result = measured("--json", *more)
        assert result.exit_code == 0, result.stderr
        stages = json.loads(result.stdout)["stages"]
        return stages["prompts"]["prompts"], stages["scores"]["prompts"]

    assert counted("--eval-limit", "1") == (8, 1)
    assert counted("--eval-limit", "", "--redo") == (8, 8)
    assert counted("--limit", "2", "--redo") == (2, 2)


def test_scores_and_controls_follow_what_they_are_of(measured):
    assert measured().exit_code == 0
    warmth, first, control = scored()
    assert warmth == 0.5
    assert measured("--redo").exit_code == 0
    assert scored() == (0.5, first, control)
    edit("options.yaml", "0.5", "0.25")
    assert measured().exit_code == 2
    assert measured("--redo").exit_code == 0
    warmth, second, same = scored()
    assert (warmth, same) == (0.25, control)
    assert second > first
    assert measured("--redo", "--train.epochs", "2").exit_code == 0
    _, third, other = scored()
    assert third > second
    assert other > control
    edit("prompts.jsonl", "question 0", "another question")
    assert measured("--redo", "--train.epochs", "2").exit_code == 0
    assert scored()[2] > other


def test_two_processes_make_again_what_one_of_them_took_back(commands, measured, tmp_path):
    """The model and the control are trained by both, of new pairs."""
    measured()
    before, answers, control = stamps(), asked(), scored()[2]
    edit("asks.py", "the short answer", "a short answer")
    more = "-p measures.py --config options.yaml --train.device cpu --redo"
    env = {"CPT_CACHE": str(tmp_path / "cache")}
    together = commands.shared(*f"{LINE} {more}".split(), cwd=tmp_path, env=env)
    assert [ended.status for ended in together] == [0, 0], together
    assert remade(before) == ["pairs.parquet", "model/model.safetensors"]
    assert scored()[2] > control
    assert asked() == answers


def test_the_code_of_a_control_counts(measured, tmp_path):
    (tmp_path / "own.py").write_text(MINE.replace('"mine"', '"own"'))
    edit("options.yaml", "loss: mine", "loss: own")
    assert measured("-p", "own.py").exit_code == 0
    _, first, control = scored()
    trained = stamps()
    edit("own.py", "1.0 *", "-1.0 *")
    refused = measured("-p", "own.py")
    assert refused.exit_code == 2
    assert "stage 'controls' was made with code of controls.imitated.loss own.py " in refused.stderr
    again = measured("-p", "own.py", "--redo")
    assert again.exit_code == 0, again.stderr
    _, second, other = scored()
    assert second > first
    assert other > control
    assert remade(trained) == []


def test_pairs_of_a_run_are_its_pairs_and_not_its_whole_folder(run, cpt_cli, model):
    run()
    told = ("train", "--pairs", "run", "--model", model, "--loss", "sft", "--output", "other")
    assert cpt_cli(*told).exit_code == 0
    Path("run/notes.txt").write_text("a thought")
    run()  # which notes the time in `run.yaml`
    assert cpt_cli(*told).exit_code == 0


def test_recorded_answers_count_by_what_they_say(cpt_cli, tmp_path):
    rows = [{"prompt": "q", "responses": {"good": "yes, of course", "bad": "no"}}]
    answers, prompts = tmp_path / "answers.jsonl", tmp_path / "prompts.jsonl"
    answers.write_text(json.dumps(rows[0]) + "\n")
    prompts.write_text('{"prompt": "q"}\n')
    rungs = ("--pairer.rungs", "recorded:answers.jsonl#good", "--pairer.rungs")
    told = (
        "pair",
        "--prompts",
        prompts,
        "--pairer",
        "ladder",
        *rungs,
        "recorded:answers.jsonl#bad",
    )
    assert cpt_cli(*told, "--output", "run").exit_code == 0
    edit(answers, "of course", "indeed")
    refused = cpt_cli(*told, "--output", "run")
    assert refused.exit_code == 2
    assert "content of pairer.rungs.0.source, pairer.rungs.1.source " in refused.stderr


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with a loss and a helper, on the path; called, it is a distribution as well."""
    (tmp_path / "wide").mkdir()
    (tmp_path / "wide" / "__init__.py").write_text(MINE)
    (tmp_path / "wide" / "helper.py").write_text("ONE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "wide", raising=False)

    def install(version, name="wide-losses", **more):
        for old in tmp_path.glob("*.dist-info"):
            shutil.rmtree(old)
        info = tmp_path / f"wide_losses-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text("[cpt]\nwide = wide\n")
        if more:
            (info / "direct_url.json").write_text(json.dumps(more))

    return install


def told(name="wide", role="Mine"):
    return code_of(getattr(importlib.import_module(name), role), installed())


def test_a_package_counts_by_all_its_code(package, tmp_path):
    before = told()
    assert before.startswith("wide ")
    (tmp_path / "wide" / "notes.txt").write_text("a thought")
    assert told() == before
    (tmp_path / "wide" / "helper.py").write_text("ONE = 2\n")
    assert told() != before


def test_a_distribution_counts_by_its_version(package, tmp_path):
    package("1.0")
    assert told() == "wide-losses 1.0"
    (tmp_path / "wide" / "helper.py").write_text("ONE = 2\n")
    assert told() == "wide-losses 1.0"
    package("1.1")
    assert told() == "wide-losses 1.1"


@pytest.mark.parametrize("editable", [True, False])
def test_what_was_installed_from_a_folder_counts_by_its_code_too(package, tmp_path, editable):
    package("1.0", url="file:///wide", dir_info={"editable": editable})
    before = told()
    assert before.startswith("wide-losses 1.0 (wide ")
    (tmp_path / "wide" / "helper.py").write_text("ONE = 2\n")
    assert told() != before


def test_another_version_of_cpt_makes_nothing_another(package):
    package("0.2", name="contrastive-post-training")
    assert told() == ""
    assert code_of(tiny.Sigmoid, {}) != ""
    assert code_of(cpt.Loss, {}) == ""


def test_a_class_counts_with_those_that_it_derives_from(package, tmp_path, monkeypatch):
    (tmp_path / "wider.py").write_text("import wide\nclass Wider(wide.Mine): name = 'wider'\n")
    monkeypatch.delitem(sys.modules, "wider", raising=False)
    before = told("wider", "Wider")
    assert before.startswith("wider.py ")
    assert ", wide " in before
    (tmp_path / "wide" / "helper.py").write_text("ONE = 2\n")
    assert told("wider", "Wider") != before


def test_components_are_found_however_deep(package):
    @attrs.frozen
    class Judge(cpt.Judge):
        name = "deep"
        inner: cpt.Loss = attrs.field(factory=importlib.import_module("wide").Mine)

        async def judge(self, prompt, responses, ask):
            raise NotImplementedError

    found = code({"pairer": [{"judges": (Judge(),)}]})
    assert list(found) == ["pairer.0.judges.0", "pairer.0.judges.0.inner"]


@attrs.frozen
class Names(cpt.Local):
    """Names something on the disk."""

    name = "names"
    source: str = attrs.field(metadata=cpt.PATH)
    over: str = ""
    """Names nothing, whatever there is."""
    cache: str = attrs.field(default="", metadata=cpt.NOT_IDENTITY | cpt.PATH)

    def answer_all(self, requests):
        raise NotImplementedError


@attrs.frozen
class Named:
    """Options of a run."""

    model: str | None = attrs.field(default=None, metadata=cpt.PATH)
    pairer: object = None
    files: tuple[str, ...] = attrs.field(default=(), metadata=cpt.PATH)


def content_of(**options):
    return content_digests(dict(paths_in(Named(**options), options.keys())))


def test_content_is_what_decides_and_is_named_by_a_path(tmp_path, model, monkeypatch):
    monkeypatch.chdir(model)  # where no text is not this folder
    (tmp_path / "file.txt").write_text("a")
    file, base = str(tmp_path / "file.txt"), str(model)
    whom = (
        Names(file),
        Names(f"{file}#author"),
        Names("gone.txt"),
        Names(base, cache=file),
        Names("", over=file),
    )
    found = content_of(pairer={"rungs": whom}, model=base, files=("gone", file))
    assert list(found) == [
        *("model", "pairer.rungs.0.source", "pairer.rungs.1.source", "pairer.rungs.3.source"),
        "files.1",
    ]
    assert found["pairer.rungs.0.source"] == found["pairer.rungs.1.source"] == found["files.1"]
    assert found["pairer.rungs.3.source"] == found["model"]
    (model / "lock").symlink_to("nowhere")
    shutil.copytree(model, tmp_path / "copy", symlinks=True)
    assert content_of(model=str(tmp_path / "copy")) == {"model": found["model"]}


def test_every_option_that_names_something_on_the_disk_is_marked():
    """Of the run and of bundled components; the value of any other is never looked up."""
    from cpt.config import Config
    from cpt.config.options import fields
    from cpt.plugins.manager import load_plugins
    from cpt.plugins.registry import Registry

    components = Registry.collect(load_plugins()).components
    classes = {Config: "", Training: "train.", Asking: "asking."} | {
        cls: f"{name}." for (_, name), cls in components.items()
    }
    marked = {
        f"{under}{field.name}"
        for cls, under in classes.items()
        for field in fields(cls)
        if field.metadata.get("path")
    }
    assert marked == {
        *("prompts", "pairs", "model", "eval_prompts", "train.reference", "asking.prices"),
        *("eval_pairs", "clair.template", "transformers.model", "reward_model.model"),
        *("active.model", "active.reference", "decontaminate.against", "flags.file"),
        *("length_balance.tokenizer", "length_ratio.tokenizer", "human.source"),
        *("feedback.source", "recorded.file", "recorded.source", "checker.function"),
        *("llm.template", "pairwise.template", "scored_qa.questions", "lm_eval.include_path"),
        *("win_rate.difficulty", "win_rate.regularizer"),
        *("difficulty.model", "difficulty.reference"),
    }


def test_a_file_that_is_called_like_the_value_of_an_option_is_none_of_its_business(run):
    assert run("--train.lora-targets", "q_proj").exit_code == 0
    Path("mine").write_text("a thought")
    Path("q_proj").write_text("another")
    again = run("--train.lora-targets", "q_proj")
    assert again.exit_code == 0, again.stderr
    assert "done in" not in again.stderr
    record = cpt.open_run("run").stages["model"]
    assert set(record["content"]) == {"model", "pairs.parquet"}


def test_the_reference_model_of_a_control_counts(measured, tmp_path):
    other = tiny.folder(tmp_path / "other")
    edit("options.yaml", "loss: mine", f"loss: mine\n    train: {{reference: {other}}}")
    assert measured().exit_code == 0
    tiny.model(seed=5).save_pretrained(other)
    refused = measured()
    assert refused.exit_code == 2
    assert "content of controls.imitated.train.reference " in refused.stderr


def test_a_model_of_the_hub_counts_by_its_revision(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert content_of(model="owner/name") == {}
    here = tmp_path / "models--owner--name"
    for revision in ("a" * 40, "b" * 40):
        (here / "snapshots" / revision).mkdir(parents=True)
        (here / "snapshots" / revision / "config.json").write_text("{}")
        (here / "refs").mkdir(exist_ok=True)
        (here / "refs" / "main").write_text(revision)
        assert content_of(model="owner/name") == {"model": revision}
