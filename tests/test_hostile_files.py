"""Files that a user names, and what is in them: a result or one line, no traceback, no wait."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import process_time
from typing import Any

import pytest

from cpt.errors import LONGEST, UNSEEN, BadData, CptError
from cpt.report.read.curves import read_curves
from cpt.run.record.folder import Folder
from cpt.statistics.length_control import length_controlled
from cpt_checks.questions import read_questions

from . import tiny

PAIR = {"id": "1", "prompt": "p", "chosen": "a b", "rejected": "b"}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of odd files; a command that waits for ever is ended."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    for name in ("zero", "zero.json", "zero.jsonl"):
        Path(name).symlink_to("/dev/zero")
    Path("deep.json").write_text("[" * 100_000)
    Path("pairs.jsonl").write_text(json.dumps(PAIR) + "\n")
    signal.alarm(300)
    yield tmp_path
    signal.alarm(0)


def refused(result: Any, *words: str) -> None:
    """It ends with status 2 and one line that says so."""
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert len(line) <= LONGEST + 5
    assert not UNSEEN.search(line)
    for word in words:
        assert word in line, line


SAID = "server:m"
TEMPLATES = {
    "judge": ("judge", "pairs.jsonl", "--judge", "llm", "--judge.responder", SAID),
    "pairwise": ("judge", "pairs.jsonl", "--judge", "pairwise", "--judge.responder", SAID),
    "clair": ("pair", "--prompts", "pairs.jsonl", "--pairer", "clair", "--output", "run"),
}


@pytest.mark.parametrize("odd", ["pipe", "zero", "/dev/null", ".", "missing"])
@pytest.mark.parametrize("who", TEMPLATES)
def test_a_template_is_a_file(cpt_cli: Any, who: str, odd: str) -> None:
    options = {
        "judge": ("--judge.responder.base-url", "http://127.0.0.1:9/v1", "--judge.template"),
        "clair": (
            *("--pairer.student", SAID, "--pairer.reviser", SAID),
            *("--pairer.student.base-url", "http://127.0.0.1:9/v1"),
            *("--pairer.reviser.base-url", "http://127.0.0.1:9/v1", "--pairer.template"),
        ),
    }
    refused(cpt_cli(*TEMPLATES[who], *options.get(who, options["judge"]), odd), odd, "template")


@pytest.mark.parametrize("odd", ["pipe", "zero.jsonl", "zero.json"])
def test_no_command_waits_for_a_pipe_or_reads_a_device(cpt_cli: Any, odd: str) -> None:
    for line in (
        ("pair", "--prompts", odd, "--pairer", "ladder", "--output", "run"),
        ("train", "--pairs", odd, "--model", "m", "--output", "run2"),
        ("doctor", odd),
        ("show", "pairs", odd),
        ("export", odd, "--format", "openai", "--output", "o.jsonl"),
        ("winrate", odd),
        ("winrate", "pairs.jsonl", "--difficulty", odd),
    ):
        refused(cpt_cli(*line))
    assert not Path("run").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "chat_template.jinja", "x.py"])
@pytest.mark.parametrize("odd", ["pipe", "zero"])
def test_a_model_folder_holds_no_pipe_and_no_device(cpt_cli: Any, name: str, odd: str) -> None:
    folder = tiny.folder(Path("model"))
    (folder / name).unlink(missing_ok=True)
    (folder / name).symlink_to(Path(odd).absolute())
    refused(cpt_cli("doctor", "pairs.jsonl", "--model", folder), name)


@pytest.mark.parametrize("name", ["metrics.jsonl", "scores.json", "pairs.parquet", "run.yaml"])
@pytest.mark.parametrize("odd", ["pipe", "zero"])
def test_a_run_folder_holds_no_pipe_and_no_device(cpt_cli: Any, name: str, odd: str) -> None:
    Folder(Path("run")).open({})
    (Path("run") / name).unlink(missing_ok=True)
    (Path("run") / name).symlink_to(Path(odd).absolute())
    for line in (
        ("report", "run"),
        ("gate", "run", "--require", "a > 1"),
        ("train", "--model", "m", "--output", "run"),
    ):
        refused(cpt_cli(*line), name)


def test_a_folder_in_the_place_of_a_table_is_damage(place: Path) -> None:
    (place / "metrics.jsonl").write_text('{"step": 1, "loss": 1.0}\n')
    (place / "order.parquet").mkdir()
    with pytest.raises(BadData, match=r"order\.parquet: not as cpt wrote it"):
        read_curves(place)


@pytest.mark.parametrize("folder", ["pairs.jsonl", "dangling", "/proc/none"])
def test_a_file_in_a_folder_that_cannot_be_is_one_line(cpt_cli: Any, folder: str) -> None:
    Path("dangling").symlink_to("pairs.jsonl/nowhere")
    output = f"{folder}/out.jsonl"
    for line in (("export", "--format", "openai", "--output", output), ("doctor", "--fix", output)):
        done = cpt_cli(line[0], "pairs.jsonl", *line[1:])
        assert done.exit_code == 2, done.output
        assert f"cpt: {folder}" in done.stderr.splitlines()[-1]


QUESTIONS = {
    "a number": "5",
    "too deep": "[" * 100_000,
    "a row that is none": "[1]",
    "a table of none": '{"a": 5}',
    "no answer": '[{"prompt": "p"}]',
    "a table for an answer": '[{"prompt": "p", "target": {"a": 1}}]',
    "a list of lists": '[{"prompt": "p", "target": [[1]]}]',
    "an endless number": '[{"prompt": "p", "target": ' + "9" * 5000 + "}]",
    "a number beyond the options": (
        '[{"prompt": "p", "options": ["x", "y"], "target": "' + "9" * 5000 + '"}]'
    ),
    "options that are a number": '[{"prompt": "p", "options": 2.5, "target": 0}]',
    "half of a character": '[{"prompt": "\\ud800", "target": "x"}]',
    "one that is there twice": '[{"id": 1, "prompt": "p", "target": "x"},'
    ' {"id": 1, "prompt": "q", "target": "y"}]',
    "nothing": "[]",
}


@pytest.mark.parametrize("what", QUESTIONS)
def test_questions_that_are_none_name_their_file(place: Path, what: str) -> None:
    path = place / "questions.json"
    path.write_text(QUESTIONS[what])
    with pytest.raises(CptError) as caught:
        read_questions(path)
    assert str(path) in caught.value.message
    assert len(caught.value.format_message()) <= LONGEST


def test_a_question_may_hold_any_line_end(place: Path) -> None:
    path = place / "questions.jsonl"
    rows = [{"prompt": "a\u2028b\u0085c", "target": "x"}, {"prompt": "q", "target": 1}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    assert [one.text for one in read_questions(path)] == ["a\u2028b\u0085c", "q"]


TOOLS = [
    *("5", "true", "1.5", '"x"', '[{"function": 5}]', '[{"function": {"name": [1]}}]', "[[]]"),
    *('{"a": 1}', '"[[[["', json.dumps("[" * 500), json.dumps('[{"a":' * 300), "[null]"),
]


def test_tools_and_calls_of_any_kind_are_read_or_one_line(cpt_cli: Any) -> None:
    model = tiny.folder(Path("model"))
    for value in TOOLS:
        turns = [
            '{"role": "user", "content": "q"}',
            f'{{"role": "assistant", "content": "x", "tool_calls": {value}}}',
            '{"role": "tool", "content": "y"}',
        ]
        called = f'"prompt": [{", ".join(turns)}]'
        argued = called.replace(value, f'[{{"name": "f", "arguments": {value}}}]')
        for more in (f'"tools": {value}', called, argued):
            Path("odd.jsonl").write_text(f"{json.dumps(PAIR)[:-1]}, {more}}}\n")
            for line in (
                ("doctor", "odd.jsonl", "--model", model),
                ("export", "odd.jsonl", "--format", "llama-factory", "--output", "o.jsonl"),
            ):
                result = cpt_cli(*line)
                assert result.exit_code in (0, 2), (value, more, result.output)


REGISTERED = ["[" * 100_000, '{"a":' * 100_000, "5", "[]", "null", '"x"', '{"a": "\\ud800"}', "\0"]


@pytest.mark.parametrize("text", REGISTERED, ids=range(len(REGISTERED)))
def test_a_list_of_data_sets_that_is_none_is_one_line(cpt_cli: Any, text: str) -> None:
    Path("dataset_info.json").write_text(text)
    line = ("export", "pairs.jsonl", "--format", "llama-factory", "--output", "o.jsonl")
    refused(cpt_cli(*line), "dataset_info.json: no list of data sets")
    assert not Path("o.jsonl").exists()


def test_temporary_files_of_killed_commands_do_not_grow(cpt_cli: Any) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    names = {
        "left": f".o.jsonl.{gone.pid}.tmp",
        "fresh": f".o.jsonl.{gone.pid}0.tmp",
        "written": f".o.jsonl.{os.getppid()}.tmp",
        "of another file": f".p.jsonl.{gone.pid}.tmp",
        "of a person": ".o.jsonl.mine.tmp",
    }
    for what, name in names.items():
        Path(name).write_text("x")
        if what != "fresh":
            os.utime(name, (1e9, 1e9))
    done = cpt_cli("export", "pairs.jsonl", "--format", "openai", "--output", "o.jsonl")
    assert done.exit_code == 0, done.output
    assert {what for what, name in names.items() if not Path(name).exists()} == {"left"}


JUDGED = {"instruction": "q", "output_1": "a", "output_2": "bb", "preference": 1.5}


@pytest.mark.parametrize("column", ["preference", "weight", "shown_first"])
@pytest.mark.parametrize("number", ["1e400", "-Infinity", '"inf"', "1" + "0" * 400])
def test_no_infinite_number_is_in_annotations(cpt_cli: Any, column: str, number: str) -> None:
    rest = {name: value for name, value in JUDGED.items() if name != column}
    Path("a.jsonl").write_text(f'{json.dumps(rest)[:-1]}, "{column}": {number}}}\n')
    refused(cpt_cli("winrate", "a.jsonl"), f"a.jsonl:1: {column}")


def test_one_empty_answer_does_not_keep_length_control_from_its_end() -> None:
    """Refits that drew only answers of one length took a minute each."""
    wins = [float(number % 2) for number in range(12)] + [0.5]
    begun = process_time()
    length_controlled(wins, [(1, 2)] * 12 + [(0, 2)])
    assert process_time() - begun < 60


# Texts of others that are long, of one letter, or begin what never ends.

UNITS = [
    *("\n", " ", "\t", "a", "1", "1,", "score ", "score: ", "<think>", "<think ", "[[", "[[A", "{"),
    *('{"a":', "(", "\\boxed{", "*", "**", "_", "_a", "`", "```", "```\n", "|", "|-", "-", "\n- "),
    *(
        "answer ",
        "answer is ",
        "Human:",
        "#",
        "\n#",
        "\u3042",
        "//",
        "//a@",
        "<",
        "&",
        "![",
        "![a](",
    ),
    *("as an ai ", "<|image", "[INST]", "}}", "of 10 ", "/10", "{corrected_student_solution}", '"'),
]
BEGINS = ["answer", "score", "<think", "[[A", "```", "**", "|a|\n", "corrected_student_solution"]
LINEAR = """
import resource, sys
resource.setrlimit(resource.RLIMIT_CPU, (40, 40))
from cpt.secrets import hide, one_line, scrub
from cpt.statistics.arena import style_of
from cpt.training.data.checks import words
from cpt_checks import health
from cpt_checks.reading import is_right, read_letter
from cpt_clair.revision import parse, unfenced
from cpt_filters import texts
from cpt_filters.language import CODE
from cpt_judges.reading import read_criteria, read_score
from cpt_judges.verdicts import read_verdict
from cpt import NoPair
hide("key-abcdefghijklmnop")

def revision(text):
    try:
        parse(text)
    except NoPair:
        pass

READERS = {
    "style": style_of, "score": lambda text: read_score(text, 10), "clair": revision,
    "criteria": lambda text: read_criteria(text, 10, ["clarity"]), "unfenced": unfenced,
    "verdict": lambda text: read_verdict(text, ("A", "B")), "words": texts.words,
    "letter": lambda text: read_letter(text, ["x", "y"]), "code": lambda text: CODE.sub("", text),
    "right": lambda text: is_right(text, ["4", "four"]), "health": health.REFUSAL.match,
    "placeholder": words.PLACEHOLDER.search, "revision": words.REVISION.search,
    "special": words.SPECIAL.search, "quoted": lambda text: words.CODE.sub(" ", text),
    "entity": words.ENTITY.search,
    "role": words.ROLE.match, "media": words.MEDIA.search, "scrub": scrub, "line": one_line,
}
LENGTH = 30_000
units, begins = eval(sys.stdin.read())
hostile = [(unit * LENGTH)[:LENGTH] for unit in units]
hostile += [(begin + unit * LENGTH)[:LENGTH] for begin in begins for unit in (" ", "\\n", "a", "1")]
for name, reads in READERS.items():
    print(name, end=" ", flush=True)
    for text in hostile:
        reads(text)
print("done")
"""


def test_no_text_takes_time_that_grows_with_its_square() -> None:
    """In 40 seconds of a CPU: the square of the length would take hundreds."""
    run = subprocess.run(
        [sys.executable, "-c", LINEAR],
        input=repr((UNITS, BEGINS)),
        capture_output=True,
        text=True,
    )
    assert run.stdout.endswith("done\n"), f"the last of these: {run.stdout}{run.stderr}"
