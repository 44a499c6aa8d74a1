"""The promises of SECURITY.md: nothing that was only read is run."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from cpt.errors import CptError
from cpt.training.data.tokens import encode
from cpt.yamls import read_yaml

from . import tiny

ROOT = Path(__file__).parents[1]
NAMED = re.compile(r"`tests/(\w+)\.py::(\w+)`")


def test_every_promise_names_a_test_that_there_is():
    text = (ROOT / "SECURITY.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 8
    for row in rows:
        assert NAMED.search(row), row
    for module, test in NAMED.findall(text):
        assert hasattr(importlib.import_module(f".{module}", __package__), test), test


def test_code_in_the_folder_of_a_model_does_not_run(tmp_path):
    folder = tiny.folder(tmp_path / "model")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass C: pass\n")
    for name, entry in (
        ("config.json", {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.C"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["evil.C", "evil.C"]}),
    ):
        values = json.loads((folder / name).read_text())
        kind = {"model_type": "evil"} if name == "config.json" else {"tokenizer_class": "Evil"}
        (folder / name).write_text(json.dumps(values | kind | {"auto_map": entry}))
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "p", "chosen": "a", "rejected": "b"}\n')
    done = subprocess.run(
        [sys.executable, "-m", "cpt", "doctor", pairs, "--model", folder],
        input=b"y\n",  # what transformers would ask for on the terminal
        capture_output=True,
    )
    assert done.returncode == 2 and b"trust_remote_code" in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.system('touch ran') }}",
        "{{ messages.append(1) }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_chat_template_reaches_nothing(tmp_path, monkeypatch, template):
    monkeypatch.chdir(tmp_path)
    tokenizer = tiny.tokenizer()
    tokenizer.chat_template = template
    (encoded,) = encode([tiny.pair("p", "a", "b")], tokenizer)
    assert "the chat template refuses it" in str(encoded)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch ran']",
        "!!python/object/new:os.system ['touch ran']",
        "a: !!python/name:os.system",
        "a: !!python/module:os",
    ],
)
def test_no_tag_of_yaml_runs(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(text)
    with pytest.raises(CptError, match="could not determine a constructor"):
        read_yaml(Path("a.yaml"))
    assert not Path("ran").exists()


@pytest.mark.parametrize("name", ["http://127.0.0.1:1/x.py", "https://127.0.0.1:1/x", "//h/x.py"])
def test_no_address_is_a_plugin(cpt_cli, name):
    result = cpt_cli("-p", name, "train")
    assert result.exit_code == 2
    assert f"{name}: this plugin did not load" in result.stderr
