"""A run folder explains itself, and is never mixed."""

from typing import Any

import attrs
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cpt import config
from cpt.errors import CptError
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt.run.events import Events
from cpt.run.execute import execute
from cpt.run.record.folder import Folder
from cpt.run.record.inputs import digest_of
from cpt.run.stage import Run, Stage


def test_a_stage_is_done_when_the_record_says_so(tmp_path):
    folder = Folder(tmp_path / "run")
    folder.open({"loss": {"name": "dpo"}})
    folder.begin("pairs", {"options": {"pairer": {"name": "ladder"}}})
    assert not folder.is_done("pairs")
    folder.finish("pairs", 1.5, {"pairs": 3})
    assert folder.is_done("pairs")
    record = yaml.safe_load((tmp_path / "run" / "run.yaml").read_text())
    assert record["options"] == {"loss": {"name": "dpo"}}
    assert record["stages"]["pairs"]["summary"] == {"pairs": 3}
    assert "torch" in record["versions"]


def test_other_options_are_refused_with_what_differs(tmp_path):
    folder = Folder(tmp_path)
    folder.open({})
    made, other = ({"options": {"loss": {"name": "dpo", "beta": beta}}} for beta in (0.1, 0.2))
    folder.begin("model", made)
    folder.check_unchanged("model", made, ["checkpoints"])
    folder.check_unchanged("model", other, ["checkpoints"])  # there is nothing to continue from
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(CptError, match=r"loss\.beta 0\.1, not 0\.2"):
        folder.check_unchanged("model", other, ["checkpoints"])
    (tmp_path / "checkpoints").rmdir()
    folder.finish("model", 1.5, {})
    with pytest.raises(CptError, match=r"loss\.beta 0\.1, not 0\.2"):
        folder.check_unchanged("model", other)


def test_options_of_another_component_are_no_difference_of_their_own(tmp_path):
    folder = Folder(tmp_path)
    folder.open({})
    made, other = (
        {"options": {"loss": loss, "seed": 0}}
        for loss in ({"name": "dpo", "beta": 0.1}, {"name": "slic", "delta": 1.0})
    )
    folder.begin("model", made)
    folder.finish("model", 1.5, {})
    assert folder.differences("model", other) == ["loss dpo, not slic"]


def test_a_stage_that_fails_when_it_is_made_anew_keeps_its_place(tmp_path):
    folder = Folder(tmp_path)
    folder.open({})
    made, other = ({"options": {"limit": limit}} for limit in (1, 2))
    for name in ("pairs", "model"):
        folder.begin(name, made)
        folder.finish(name, 1.0, {"pairs": 1})
    (tmp_path / "pairs.parquet").write_text("old")
    folder.undo("pairs", ["pairs.parquet", "outcomes.jsonl"])
    assert not (tmp_path / "pairs.parquet").exists()
    assert not folder.is_done("pairs")
    folder.begin("pairs", other)
    folder.forget("pairs", [])
    assert list(folder.record["stages"]) == ["pairs", "model"]
    assert folder.differences("pairs", made) == folder.differences("pairs", other) == []
    folder.forget("model", [])
    assert list(folder.record["stages"]) == ["pairs"]


def test_what_is_taken_back_is_gone_whatever_it_is(tmp_path):
    folder = Folder(tmp_path / "run")
    folder.open({})
    folder.begin("model", {"options": {}})
    elsewhere = tmp_path / "large disk"
    elsewhere.mkdir()
    (folder.path / "model").mkdir()
    (folder.path / "model" / "weights").write_text("x")
    (folder.path / ".model.gone").mkdir()  # of one that was killed
    (folder.path / "checkpoints").symlink_to(elsewhere)
    folder.undo("model", ["model", "checkpoints", "metrics.jsonl"])
    assert [path.name for path in folder.path.iterdir()] == ["run.yaml"]
    assert elsewhere.exists()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(CptError, match="holds something that is not a run"):
        Folder(tmp_path).open({})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.tex"]


@pytest.mark.parametrize(
    "text",
    [
        "[",
        "- a\n",
        "other: 1\n",
        "\x00",
        "options: 3\nstages: {}\n",
        "options: {}\nstages: {a: 3}\n",
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, text):
    (tmp_path / "run.yaml").write_text(text)
    with pytest.raises(CptError, match=r"run\.yaml: ") as caught:
        _ = Folder(tmp_path).record
    assert "\n" not in caught.value.message


@given(content=st.binary(max_size=50), other=st.binary(max_size=50))
def test_digests_follow_content(tmp_path_factory, content, other):
    path = tmp_path_factory.mktemp("digest") / "file"
    path.write_bytes(content)
    first = digest_of(path)
    path.write_bytes(other)
    assert (digest_of(path) == first) == (content == other)


@pytest.mark.parametrize(("processes", "times"), [(None, 2), ("2", 1)])
def test_what_failed_is_tried_again_where_one_process_works(
    processes, times, tmp_path, monkeypatch
):
    """Under a launcher the others would continue with what is there."""
    if processes:
        monkeypatch.setenv("WORLD_SIZE", processes)
    registry = Registry.collect(load_plugins())
    done: list[Any] = []

    def work(run: Any) -> dict[str, int]:
        done.append(run)
        return {"unfinished": 1}

    stage = Stage(
        name="pairs",
        title="pairing",
        options=(),
        work=work,
    )
    settings = config.resolve(config.stack([], registry), registry)
    events = Events(registry.plugins, tmp_path)
    for _ in range(2):
        execute([stage], Run(settings, Folder(tmp_path), registry, events))
    assert len(done) == times


def test_every_option_of_a_run_belongs_to_a_stage_that_the_report_knows():
    """All but those of `cpt respond`, and those that decide no result."""
    from cpt.report.read.recipe import PARTS
    from cpt.report.read.run import TITLES

    options = {field.name for field in attrs.fields(config.Config)}
    assert set(PARTS) == options - {"responder", "samples", "asking", "observers"}
    assert list(TITLES) == ["prompts", "pairs", "model", "controls", "scores", "rounds"]
    assert all(TITLES.values())
