"""No key is said by what asks in other commands than `pair`: judges, evaluators, advice."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from click.testing import CliRunner

from cpt.cli import main

from . import tiny
from .scripted import Reply
from .test_secrets import ECHO, KEY, LONG, places_with_the_key
from .threaded import answering

PLUGINS = Path(__file__).parent / "plugins"
ROWS = [{"id": f"r{n}", "prompt": f"Q{n}", "chosen": "aaa", "rejected": "b"} for n in range(4)]
OUTPUTS = {
    name: [{"instruction": row["prompt"], "output": row[name], "generator": name} for row in ROWS]
    for name in ("chosen", "rejected")
}
COMMANDS: dict[str, tuple[str, ...]] = {
    "llm": ("judge", "rows.jsonl", "--judge", "llm", "--judge.responder"),
    "pairwise": ("judge", "rows.jsonl", "--judge", "pairwise", "--judge.responder"),
    "advise": (
        *("advise", "rows.jsonl", "-p", str(PLUGINS / "likes.py"), "--judge", "likes"),
        *("--model", "m", "--generator"),
    ),
    "winrate": (
        *("winrate", "--outputs", "chosen.json", "--reference", "rejected.json"),
        *("--judge", "pairwise", "--judge.responder"),
    ),
    "judged": (
        *("eval", "-p", str(PLUGINS / "echoes.py"), "--generator", "echoes"),
        *("--evaluators", "judged", "--eval-prompts", "rows.jsonl"),
        *("--evaluators.judge", "llm", "--evaluators.judge.responder"),
    ),
    "generator": (
        *("eval", "-p", str(PLUGINS / "likes.py")),
        *("--evaluators", "win_rate", "--evaluators.judge", "likes"),
        *("--eval-prompts", "rows.jsonl", "--generator"),
    ),
}
"""Command lines that end with who is asked."""
REFUSED = Reply(ECHO, 401)
TROUBLES = {
    "Q0": Reply(ECHO, 400),
    "Q1": Reply(LONG.encode(), 500),
    "Q2": Reply(b'{"choices": ' + LONG.encode()),
    "Q3": Reply({"choices": [{"message": {"content": KEY}, "finish_reason": LONG}]}),
}
"""What requests with these words in them get."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data that the commands name, and a trained model to measure."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [json.dumps(row) + "\n" for row in ROWS]
    (folder / "rows.jsonl").write_text("".join(rows))
    for name, outputs in OUTPUTS.items():
        (folder / f"{name}.json").write_text(json.dumps(outputs))
    line = ["train", "--model", tiny.folder(folder / "base"), "--pairs", folder / "rows.jsonl"]
    options = ["--loss", "dpo", "--train.batch-size", "2", "--train.device", "cpu"]
    done = CliRunner().invoke(main, [*map(str, line), *options, "--output", str(folder / "out")])
    assert done.exit_code == 0, done.output
    return folder


@pytest.mark.parametrize("replies", [TROUBLES, {}], ids=["troubled", "refused"])
@pytest.mark.parametrize("who", COMMANDS)
def test_no_key_is_said_by_who_asks(
    cpt_cli: Any,
    trained: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    who: str,
    replies: dict[str, Reply],
) -> None:
    monkeypatch.setenv("MY_ACCESS", KEY)
    copytree(trained, tmp_path, dirs_exist_ok=True)
    line = COMMANDS[who]
    with answering(REFUSED, **replies) as server:
        options = {"base-url": f"{server.url}/v1", "api-key-env": "MY_ACCESS", "attempts": "1"}
        more = [word for name, value in options.items() for word in (f"{line[-1]}.{name}", value)]
        done = cpt_cli(*line, "server:m", *more, "--output", "out", "--json")
    assert not done.exception or isinstance(done.exception, SystemExit), done.output
    assert KEY in str(server.asked), f"the service was not even asked: {done.output}"
    assert places_with_the_key(tmp_path, done.output.encode()) == []
