"""Whatever is read ends in an outcome or one clear line, in bounded time and memory."""

from __future__ import annotations

import copy
import gzip
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cpt import config
from cpt.cli import main
from cpt.config.options import fields
from cpt.data import each_pair, read_prompts, read_responses, write_pairs, write_prompts
from cpt.errors import LONGEST, UNSEEN, CptError
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry
from cpt.types import Message, Pair, Prompt, Response

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value


hostile = st.sampled_from(
    [
        *(None, True, 0, -1, 1.5, 10**30, -(10**400), 2**63, 1e308, -1e308),
        *(float("inf"), float("-inf"), float("nan")),
        *("", " ", "\x1b[31mred", "\x00", "\ud800", "a\nb", "\u202e", "x" * 5000, "1e400", "nan"),
        *(
            "9" * 5000,
            "1_0",
            "0x10",
            "~",
            "/",
            "..",
            "#",
            "a#b#c",
            "lab:",
            "lab:x",
            "no:",
            "{",
            "[",
        ),
        *('{"a": ' * 300, '{"a": "\\ud800"}', '{"usage": 5}'),
        *('{"usage": {"output_tokens": -1}}', '{"info": 3}'),
        *('{"outcome": [1]}', '{"info": 3, "detail": {}}', "[red]b[/red]", "%s{x}", "`|<b>"),
        *([], {}, [1], {"a": 1}, [[]], {"": {}}, [None], nested(30), nested(60)),
        *([{"role": "user", "content": "p"}], [{"role": "user"}], [{"role": [], "content": 1}]),
    ]
)
values = hostile | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | hostile,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


def line(error: CptError) -> None:
    """It is one line that a person can read."""
    said = error.format_message()
    assert 0 < len(said) <= LONGEST
    assert not UNSEEN.search(said)


# Rows.

ROW = {"id": "1", "prompt": "p", "chosen": "a", "rejected": "b", "response": "r"}
COLUMNS = [
    *(*ROW, "messages", "instruction", "input", "prompt_id", "pairer", "tier", "margin", "weight"),
    *("scores", "chosen_score", "score_rejected", "chosen_author", "rationale", "info", "usage"),
    *("chosen_info", "rejected_info", "response_info", "responses", "author", "output_tokens"),
    *("outcome", "finish_reason", "detail", "k\ud800", "\x1b[31m"),
]
rows = st.dictionaries(st.sampled_from(COLUMNS), values, max_size=3).map(lambda row: ROW | row)


def read_every_way(path: Path, out: Path) -> None:
    """As pairs, prompts and responses, each written again."""
    for read in (
        lambda: write_pairs(out / "o.parquet", each_pair(path)),
        lambda: write_pairs(out / "o.jsonl", each_pair(path)),
        lambda: write_prompts(out / "o.parquet", read_prompts(path)),
        lambda: list(read_responses(path)),
    ):
        try:
            read()
        except CptError as error:
            line(error)
            assert str(path)[-20:] in error.message


@quick
@given(st.lists(rows, min_size=1, max_size=2))
def test_any_row_is_read_or_one_line(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    read_every_way(path, tmp_path)


def sources() -> dict[str, bytes]:
    table = pyarrow.Table.from_pylist([ROW | {"info": {"a": [1, 2]}}] * 3)
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table, sink)
    lines = "".join(json.dumps(ROW | {"id": str(n)}) + "\n" for n in range(3)).encode()
    return {
        "a.jsonl": lines,
        "a.json": b"[" + b",".join(lines.splitlines()) + b"]",
        "a.csv": b"id,prompt,chosen,rejected\n1,p,a,b\n2,p,a,b\n",
        "a.jsonl.gz": gzip.compress(lines, mtime=0),
        "a.csv.gz": gzip.compress(b"prompt,chosen\na,b\n", mtime=0),
        "a.parquet": sink.getvalue().to_pybytes(),
    }


SOURCES = sources()


@quick
@given(st.sampled_from(list(SOURCES)), st.data())
def test_any_damaged_file_is_read_or_one_line(tmp_path: Path, name: str, data: Any) -> None:
    content = bytearray(SOURCES[name])
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    (tmp_path / name).write_bytes(content[:cut])
    read_every_way(tmp_path / name, tmp_path)


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([0, 2**62], pyarrow.timestamp("ms")),
        pyarrow.array([0, 2**30], pyarrow.date32()),
        pyarrow.array([0, 2**62], pyarrow.date64()),
        pyarrow.array([0, 2**62 + 1], pyarrow.duration("ns")),
    ],
    ids=str,
)
def test_dates_out_of_range_name_their_row(tmp_path: Path, column: Any) -> None:
    path = tmp_path / "a.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"prompt": ["p", "q"], "when": column}), path)
    try:
        assert len(list(read_prompts(path))) == 2
    except CptError as error:
        assert error.message.startswith(f"{path}, row 2: a value cannot be read (")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ('"margin": Infinity', "margin must be a finite number, got inf"),
        ('"margin": 1e400', "margin must be a finite number, got inf"),
        (f'"margin": {10**400}', "not a number"),
        (f'"margin": {"1" * 5000}', "a whole number has thousands of digits"),
        ('"weight": -Infinity', "weight must be a finite number, got -inf"),
        ('"scores": {"chosen": 1e308, "rejected": -1e308}', "margin must be a finite number"),
        ('"tier": 1e400', "tier is inf, not a whole number of 64 bits"),
        ('"tier": 1.5', "tier is 1.5, not a whole number of 64 bits"),
        (f'"tier": {10**30}', "not a whole number of 64 bits"),
        ('"note": "\\ud800"', "half of a character"),
        ('"k\\uD800": 1', "half of a character"),
        ('"chosen_author": "\\udfff"', "half of a character"),
        ('"info": "{\\"a\\": \\"\\\\ud800\\"}"', "info: a text holds half of a character"),
        (f'"x": {"[" * 200}{"]" * 200}', "it has more than 100 levels"),
        (
            '"info": "' + '{\\"a\\":' * 200 + "1" + "}" * 200 + '"',
            "info: it has more than 100 levels",
        ),
        ('"info": "{\\"a\\": ' + "1" * 5000 + '}"', "info: a whole number has thousands of digits"),
        ('"chosen_info": "{\\"usage\\": 5}"', "usage is 5; expected input_tokens"),
        ('"chosen_info": {"usage": {"evil": 1}}', "usage is {'evil': 1}; expected input_tokens"),
        (
            '"chosen_info": {"usage": {"output_tokens": 1e30}}',
            "output_tokens is 1e+30, not",
        ),
        ('"chosen_info": {"outcome": "won"}', "outcome is 'won', not one of answered, cut_off"),
        ('"chosen_info": {"detail": {}}', "detail is {}, not text"),
        ('"chosen_info": {"info": 3}', "info is 3, not a mapping"),
    ],
)
def test_a_value_that_cannot_be_used_names_its_row(tmp_path: Path, cell: str, said: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(ROW)[:-1]}, {cell}}}\n")
    with pytest.raises(CptError) as caught:
        list(each_pair(path))
    assert caught.value.message.startswith(f"{path}:1: ")
    assert said in caught.value.message
    line(caught.value)


@pytest.mark.parametrize("name", ["margin", "chosen_score", "rejected_score", "weight", "tier"])
@pytest.mark.parametrize("number", [float("inf"), float("nan"), 10**400, "1", [1]])
def test_no_pair_holds_what_no_tensor_holds(name: str, number: Any) -> None:
    if name != "tier" and number == "1":
        return
    sides = [Response(prompt_id="1", text=text, author="a") for text in "ab"]
    prompt = Prompt(id="1", messages=(Message("user", "p"),))
    with pytest.raises(CptError, match=f"Pair.{name} must be a "):
        Pair(prompt=prompt, chosen=sides[0], rejected=sides[1], **{name: number})


# Configurations and command lines.


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.collect(load_plugins())


def addresses() -> list[str]:
    """Of a run, its groups, and every bundled component where a run can have it."""
    registry = Registry.collect(load_plugins())
    found = [field.name for field in fields(config.Config)]
    found += [f"{group}.{name}" for group in ("train", "asking") for name in _names_of(group)]
    for (role, name), cls in registry.components.items():
        if role in found:
            found += [f"{role}={name}", *(f"{role}={name}.{field.name}" for field in fields(cls))]
    return found


def _names_of(group: str) -> list[str]:
    kind = next(field.type for field in fields(config.Config) if field.name == group)
    assert kind is not None
    return [field.name for field in fields(kind)]


ADDRESSES = addresses()
choices = st.lists(st.tuples(st.sampled_from(ADDRESSES), values), min_size=1, max_size=3)


def tree_of(chosen: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for address, value in chosen:
        role, picked, option = address.partition("=")
        if not picked:
            tree[address] = value
            continue
        name, _, option = option.partition(".")
        tree[role] = {"name": name, option: value} if option else value
    return tree


@quick
@given(choices)
def test_any_configuration_is_one_or_one_line(
    tmp_path: Path, registry: Registry, chosen: list[tuple[str, Any]]
) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(yaml.safe_dump(tree_of(chosen)), encoding="utf-8", errors="surrogatepass")
    try:
        layers = config.stack([config.read(path)], registry)
        config.resolve(layers, registry)
    except CptError as error:
        line(error)


@quick
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_options_or_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "options.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        config.read(path)
    except CptError as error:
        line(error)


def command(*args: str) -> None:
    """It ends with a status of ours, and an error is one printable line."""
    result = CliRunner().invoke(main, args)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code in (0, 1, 2)
    if result.exit_code:
        said = result.stderr.splitlines()[-1]
        assert said.startswith("cpt: ")
        assert len(said) <= LONGEST + 5
        assert not UNSEEN.search(said)


words = hostile.map(str) | st.text(max_size=10)
flags = st.sampled_from(ADDRESSES).map(
    lambda address: "--" + address.partition("=")[0].replace("_", "-")
)


@settings(quick, max_examples=30)
@given(
    st.sampled_from(["run", "pair", "train", "eval", "respond", "doctor", "show", "plugins"]),
    st.lists(st.tuples(flags | words, words), max_size=2),
)
def test_any_command_line_is_one_or_one_line(
    tmp_path: Path, name: str, given_: list[tuple[str, str]]
) -> None:
    # `--help` comes last: what is wrong before it is found, and nothing is done.
    command(name, *(word for pair in given_ for word in pair if word != "-p"), "--help")


# Records.

RECORD = {
    "stages": {
        "prompts": {"state": "done", "options": {"prompts": "p.jsonl"}, "summary": {"prompts": 1}},
        "pairs": {
            "state": "done",
            "options": {"pairer": {"name": "clair"}, "limit": None},
            "code": {"pairer": "clair 1"},
            "content": {"prompts.parquet": "00"},
            "cpt": "0.1.0",
            "seconds": 1.0,
            "summary": {"pairs": 1, "dropped": {}, "outcomes": {"kept": 1}},
        },
    },
    "options": {"prompts": "p.jsonl", "pairer": {"name": "clair"}, "asking": {"batch": False}},
    "versions": {"python": "3.11.7"},
    "written": "2026-01-01T00:00:00Z",
}


def places(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield (*path, key)
        yield from places(value, (*path, key))


PLACES = list(places(RECORD))


@settings(quick, max_examples=40)
@given(st.sampled_from(PLACES), values)
def test_any_record_is_shown_or_one_line(
    tmp_path: Path, place: tuple[Any, ...], value: Any
) -> None:
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    record = copy.deepcopy(RECORD)
    node: Any = record
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    text = yaml.safe_dump(record)
    (folder / "run.yaml").write_text(text, encoding="utf-8", errors="surrogatepass")
    command("report", "--output", str(folder))
    command("run", "--output", str(folder), "--help")


# Time and memory.

BOMBS: dict[str, Callable[[Path], object]] = {
    "laughs.yaml": lambda path: path.write_text(
        "a0: &a0 [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    ),
    "long.yaml": lambda path: path.write_text(
        "a: &a " + "x" * 900_000 + "\nb: [" + "*a," * 9000 + "]\n"
    ),
    "merged.yaml": lambda path: path.write_text(
        "a0: &a0 {x: 1}\n"
        + "".join(
            f"a{n}: &a{n} {{k{n}: [*a{n - 1}, *a{n - 1}, *a{n - 1}]}}\n" for n in range(1, 30)
        )
    ),
    "itself.yaml": lambda path: path.write_text("a: &a {b: *a}\n"),
    "deep.yaml": lambda path: path.write_text("[" * 100_000),
    "wide.yaml": lambda path: path.write_text("[" + "1," * 400_000 + "]"),
    "large.yaml": lambda path: path.write_text("a: b\n" * 10_000_000),
    "date.yaml": lambda path: path.write_text("a: 2001-99-99"),
    "deep.jsonl": lambda path: path.write_text("[" * 10_000_000),
    "deep.json": lambda path: path.write_text("[" * 10_000_000),
    "line.jsonl.gz": lambda path: zeros(path, b'{"prompt": "'),
    "list.json.gz": lambda path: zeros(path, b"["),
    "cell.csv.gz": lambda path: zeros(path, b'prompt\n"'),
    "row.csv.gz": lambda path: zeros(path, b"prompt\n"),
    "error.csv": lambda path: path.write_text("x" * 10_000_000 + ",x,x\na,b,c\n"),
}
BOUNDED = """
import resource, sys, time
from pathlib import Path
resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
from cpt.data import read_prompts
from cpt.errors import CptError
from cpt.yamls import read_yaml
began = time.process_time()
try:
    path = Path(sys.argv[1])
    read_yaml(path) if path.suffix == ".yaml" else list(read_prompts(path))
except CptError as error:
    print(error.format_message())
print(time.process_time() - began)
# Not ru_maxrss: that begins with the memory of the process that started this one.
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(status["VmHWM"].split()[0])
"""


def zeros(path: Path, begin: bytes) -> None:
    """Half a megabyte that unpacks to 500."""
    more = gzip.compress(b"0" * 2**24, compresslevel=6)
    path.write_bytes(gzip.compress(begin) + more * 32)


@pytest.mark.parametrize("name", BOMBS)
def test_what_would_take_all_memory_is_refused_in_time(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    BOMBS[name](path)
    run = subprocess.run(
        [sys.executable, "-c", BOUNDED, path], capture_output=True, text=True, check=True
    )
    said, seconds, kilobytes = run.stdout.splitlines()
    assert said.startswith(str(path))
    assert len(said) <= LONGEST
    assert float(seconds) < 20
    assert int(kilobytes) < 900_000
