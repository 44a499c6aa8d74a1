"""What others wrote reaches neither the terminal nor a page as more than text."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import pytest

from cpt.errors import LONGEST, UNSEEN, BadData, printable, shortened

from . import tiny

ROOT = Path(__file__).parents[1]
RED = "\x1b[31mred\x07"
TREE = os.pathsep.join(str(ROOT / name) for name in ("core", "plugins"))


def test_what_a_terminal_would_obey_is_visible():
    assert printable("a\x1b[2Jb\x7f\x9b\u202e\ud800ä日") == r"a\x1b[2Jb\x7f\x9b\u202e\ud800ä日"


@pytest.mark.parametrize("length", [0, 1, LONGEST, LONGEST + 1, 10**7])
@pytest.mark.parametrize("letter", ["x", "\x1b", "\u2067"])
def test_a_message_is_one_line_of_a_few_hundred_characters(length, letter):
    error = BadData(f"file:1: {letter * length}\nand its end.")
    for said in (error.format_message(), str(error)):
        assert said.startswith("file:1: ")
        assert said.endswith("its end.")
        assert len(said) <= LONGEST
        assert not UNSEEN.search(said)


def test_a_text_that_fits_is_not_cut():
    assert shortened("x" * LONGEST) == "x" * LONGEST
    assert len(shortened("x" * 99, 40)) == 40


@pytest.mark.parametrize(
    "args",
    [
        (RED,),
        ("run", f"--{RED}"),
        ("run", "--limit", RED),
        ("run", "--loss", RED),
        ("run", "--config", RED),
        ("train", "--output", RED),
        ("respond", RED, "--responder", "recorded:x", "--output", "o"),
        ("-p", f"no:{RED}", "plugins"),
        ("-p", f"{RED}.py", "train"),
        ("show", "loss", RED),
        ("init", RED),
    ],
)
def test_no_argument_reaches_the_terminal_raw(cpt_cli, args, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = cpt_cli(*args)
    assert result.exit_code == 2
    assert r"\x1b[31mred\x07" in result.stderr
    assert "\x1b" not in result.output
    assert len(result.stderr) <= LONGEST + 6


def test_names_of_plugins_are_shown_and_do_nothing(cpt_cli, tmp_path):
    plugin = tmp_path / f"{RED}.py"
    plugin.write_text("raise ValueError('\\x1b]0;title\\x07')\n")
    for more in ((), ("--traceback",)):
        result = cpt_cli("-p", str(plugin), "plugins", *more)
        assert r"\x1b[31mred\x07" in result.output
        assert r"\x1b]0;title\x07" in result.output
        assert not re.search(r"[\x00-\x09\x0b-\x1f]", result.output)


def test_ids_of_pairs_are_shown_and_do_nothing(cpt_cli, tmp_path):
    base = tiny.folder(tmp_path / "model")
    rows = [
        {"id": f"{RED}{number}", "prompt": "p", "chosen": "a", "rejected": "a"}
        for number in range(2)
    ] + [{"id": "y" * 10**6, "prompt": "p", "chosen": "a", "rejected": "a"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = cpt_cli("doctor", str(path), "--model", str(base))
    assert r"\x1b[31mred\x070" in result.output
    assert "\x1b" not in result.output
    assert len(result.output) < 2000


LOGS = """
import logging, os
from cpt.cli.printing.progress import keep_quiet
keep_quiet()
logging.getLogger("cpt").warning("by %s", "\\x1b[31mred")
"""


def test_what_is_logged_is_printable():
    run = subprocess.run([sys.executable, "-c", LOGS], capture_output=True, text=True, check=True)
    assert run.stderr == "by \\x1b[31mred\n"


def test_every_command_prints_through_one_function():
    """`click.echo` is called by `echo`, for JSON, and where there is no command."""
    callers = {
        str(path.relative_to(ROOT / "core/cpt"))
        for path in (ROOT / "core/cpt").rglob("*.py")
        if "click.echo(" in path.read_text()
    }
    assert callers == {"asking/stop.py", "cli/printing/output.py", "plugins/manager.py"}


EVIL = "x`\n\n# Hello\n[a](http://b) <img src=c> | d \x1b[31m"


def test_names_on_the_model_card_are_only_text(tmp_path):
    base = tiny.folder(tmp_path / EVIL.replace("/", "").replace("\x1b", ""))
    given = [
        attrs.evolve(
            tiny.pair("a", "b", "c" * (number + 1)), pairer=f"{EVIL}{number}", id=str(number)
        )
        for number in range(16)
    ]
    tiny.train(tmp_path / "run", base, given, loss=tiny.Sigmoid(beta=0.25))
    card = (tmp_path / "run" / "model" / "README.md").read_text()
    body = card.split("---\n", 2)[2]
    assert "\n# Hello" not in card
    assert "\x1b" not in card
    assert "made by ``x`  # Hello [a](http://b) <img src=c> \\| d \\x1b[31m0``, " in body
    assert "``, 6 more; none dropped" in body
    outside = re.sub(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", "", body)
    assert "img" not in outside


SHADOWED = (
    *("yaml", "torch", "click", "attrs", "attr", "pluggy", "cattrs", "numpy", "typing", "json"),
    *("re", "enum", "string", "random", "csv", "gzip", "pathlib", "difflib", "tokenize", "site"),
)


@pytest.mark.parametrize("words", ["-m cpt", "-mcpt", "-um cpt", "-m cpt.__main__"])
def test_nothing_is_imported_from_the_working_directory(tmp_path, words):
    for name in SHADOWED:
        (tmp_path / f"{name}.py").write_text(f"print('from here: {name}')\nraise SystemExit(9)\n")
    (tmp_path / "mine.py").write_text(
        "import cpt\n\n\n@cpt.hookimpl\ndef cpt_losses():\n    return []\n"
    )
    run = subprocess.run(
        [sys.executable, *words.split(), "-p", "mine.py", "plugins"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": TREE},
        capture_output=True,
        text=True,
    )
    assert "from here" not in run.stdout + run.stderr
    assert run.returncode == 0, run.stderr
    assert re.search(r"^mine +loaded", run.stdout, re.MULTILINE)


def test_a_package_that_uses_cpt_keeps_its_own_folder(tmp_path):
    """Only `python -m cpt` leaves the working directory out."""
    (tmp_path / "theirs.py").write_text("import cpt, helper\n")
    (tmp_path / "helper.py").write_text("print('found')\n")
    run = subprocess.run(
        [sys.executable, "-m", "theirs", "cpt"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": TREE},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == "found\n"
