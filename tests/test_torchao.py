"""Torchao, which transformers imports wherever it finds it, is imported only where it is needed."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from cpt import models
from cpt.data import write_pairs
from cpt.models import torchao

from . import tiny

here = pytest.mark.skipif(find_spec("torchao") is None, reason="torchao is not installed")
TRAIN = """
import sys
from cpt.cli import main
try:
    main(["train", "--dry-run", "--model", "base", "--pairs", "pairs.jsonl", "--loss", "dpo",
          "--train.device", "cpu", "--train.lora-rank", "2", "--output", "run"])
except SystemExit as ended:
    assert not ended.code, ended.code
assert sys.modules["transformers.modeling_utils"]
print("imported:", sorted(name for name in sys.modules if name.split(".")[0] == "torchao"))
"""


@pytest.fixture
def hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, torchao.NAME, None)


def test_training_without_it_does_not_import_it_and_says_nothing(tmp_path: Path) -> None:
    tiny.folder(tmp_path / "base")
    write_pairs(tmp_path / "pairs.jsonl", tiny.pairs(8))
    command = [sys.executable, "-c", TRAIN]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert ended.stdout.endswith("imported: ['torchao']\n")  # the name alone, with nothing in it


@here
def test_a_model_in_its_formats_needs_it(tmp_path: Path, hidden: None) -> None:
    (tmp_path / "config.json").write_text("{}")
    models.folder_of(tmp_path)
    assert find_spec(torchao.NAME) is None
    stored = {"quantization_config": {"quant_method": "torchao"}}
    (tmp_path / "config.json").write_text(json.dumps(stored))
    models.folder_of(tmp_path)
    assert find_spec(torchao.NAME)


@pytest.mark.parametrize("text", ["", "[]", "null", '{"quantization_config": null}'])
def test_a_configuration_that_is_none_needs_nothing(
    tmp_path: Path, hidden: None, text: str
) -> None:
    (tmp_path / "config.json").write_text(text)
    models.folder_of(tmp_path)
    assert find_spec(torchao.NAME) is None


def test_what_is_imported_already_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, torchao.NAME, tiny)
    torchao.hide()
    torchao.need()
    assert sys.modules[torchao.NAME] is tiny
