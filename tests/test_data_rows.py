"""Sources: every format gives the same rows, and a broken one says where."""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from cpt.data.rows.ids import Ids
from cpt.data.rows.reading import read_rows
from cpt.errors import BadData

ROWS = [
    {"id": "a", "prompt": "Wie heißt du?\u2028Sag es, bitte."},
    {"id": "b", "prompt": 'say "x"'},
]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def write(path: Path) -> Path:
    if ".json" in path.suffixes:
        path.write_text(json.dumps(ROWS))
    elif ".csv" in path.suffixes:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ROWS[0])
            writer.writeheader()
            writer.writerows(ROWS)
    elif ".parquet" in path.suffixes:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    else:
        jsonl(path, ROWS)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet"])
def test_every_format_gives_the_same_rows(name: str, tmp_path: Path) -> None:
    rows = list(read_rows(write(tmp_path / name)))
    assert [row.values for row in rows] == ROWS
    assert [row.number for row in rows] == [1, 2]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_text_may_be_compressed(name: str, tmp_path: Path) -> None:
    plain = write(tmp_path / name)
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert [row.values for row in read_rows(packed)] == ROWS


def test_a_byte_order_mark_and_empty_lines_are_no_data(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"prompt": "a"}\n\n{"prompt": "b"}\n\n', "utf-8")
    assert [(row["prompt"], row.where) for row in read_rows(path)] == [
        ("a", f"{path}:1"),
        ("b", f"{path}:3"),
    ]


def test_lines_of_json_may_be_called_json(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.json", ROWS)
    assert [row.values for row in read_rows(path)] == ROWS


def test_a_folder_is_its_files_in_order(tmp_path: Path) -> None:
    for name in ("train-1.jsonl", "train-0.jsonl", ".hidden.jsonl"):
        jsonl(tmp_path / name, [{"prompt": name}])
    (tmp_path / "README.md").write_text("not data")
    assert [row["prompt"] for row in read_rows(tmp_path)] == ["train-0.jsonl", "train-1.jsonl"]
    assert [row.number for row in read_rows(tmp_path)] == [1, 2]


def test_the_folder_of_a_run_is_the_table_that_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path / "prompts.parquet")
    jsonl(tmp_path / "metrics.jsonl", [{"loss": 1}])
    assert [row.values for row in read_rows(tmp_path, "prompts")] == ROWS


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": \n', "a.jsonl:2: broken JSON"),
        ("a.jsonl", b'{"prompt": "a"}\n["b"]\n', "a.jsonl:2: expected an object"),
        ("a.jsonl", b'{"prompt": "a"}\n{"prompt": "\xff"}\n', "a.jsonl:2: not UTF-8"),
        ("a.json", b'[{"prompt": "a"}', "a.json: broken JSON"),
        ("a.json", b'[{"prompt": "a"}, 3]', "a.json, item 2: expected an object"),
        ("a.csv", b"id,prompt\n1,a\n2,b,c\n", "a.csv:3: expected 2 columns"),
        ("a.csv", b'id,prompt\n1,a\n2,"b\n', "a.csv:3: broken CSV"),
        ("a.csv", b"id,prompt\n1\n", "a.csv:2: expected 2 columns"),
        ("a.parquet", b"PAR1 and nothing else", "a.parquet: broken Parquet"),
        ("a.jsonl.gz", b"not compressed", "a.jsonl.gz: cannot be read"),
        ("a.jsonl", b"\n", "a.jsonl: holds no rows"),
        ("a.json", b"[]", "a.json: holds no rows"),
        ("a.txt", b"text", "a.txt: unknown format; expected .jsonl, .json, .csv, .parquet"),
    ],
)
def test_what_is_broken_says_where(
    name: str, content: bytes, complaint: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(BadData) as caught:
        list(read_rows(path))
    message = caught.value.format_message()
    assert message.startswith(str(tmp_path / complaint))
    assert "\n" not in message


def test_what_can_be_read_only_once_is_refused(tmp_path: Path) -> None:
    """Everything is looked through before it is used: a pipe would be waited for, for ever."""
    os.mkfifo(tmp_path / "prompts.jsonl")
    with pytest.raises(BadData, match="no file but a pipe"):
        list(read_rows(tmp_path / "prompts.jsonl"))


def test_a_folder_that_is_called_like_a_file_is_a_folder(tmp_path: Path) -> None:
    inner = tmp_path / "data" / "x.jsonl"
    inner.mkdir(parents=True)
    for folder in (inner, tmp_path / "data"):
        with pytest.raises(BadData, match="no data file in this folder"):
            list(read_rows(folder))
    jsonl(inner / "a.jsonl", ROWS)
    for folder in (inner, tmp_path / "data"):
        assert [row.values for row in read_rows(folder)] == ROWS


def test_a_column_of_csv_is_there_once(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("prompt,id,prompt\na,1,b\n")
    with pytest.raises(BadData, match=r"a\.csv: the column 'prompt' is there twice"):
        list(read_rows(path))


def test_what_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no such file or folder"):
        list(read_rows(tmp_path / "prompts.jsonl"))
    with pytest.raises(BadData, match="no such file or folder"):
        list(read_rows("data/prompts.jsonl"))
    with pytest.raises(BadData, match="no data file in this folder"):
        list(read_rows(tmp_path))


FROM_THE_HUB = """
import sys
from cpt.data.rows.ids import Ids
from cpt.data.rows.reading import read_rows
from cpt.errors import BadData
try:
    print([row.values["prompt"] for row in read_rows(sys.argv[1])])
except BadData as error:
    print(error.format_message())
"""


def from_the_hub(source: str, home: Path) -> str:
    """In a process of its own: the libraries read these variables once."""
    run = subprocess.run(
        [sys.executable, "-c", FROM_THE_HUB, source],
        env={**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


CACHED = """
import datasets, os, shutil, sys
home, = sys.argv[1:]
splits = {s: [{"prompt": f"{s} {i}"} for i in range(2)] for s in ("train", "test")}
for split, rows in splits.items():
    datasets.Dataset.from_list(rows).to_parquet(f"{home}/source/{split}.parquet")
files = {s: f"{home}/source/{s}.parquet" for s in splits}
datasets.load_dataset("parquet", data_files=files, cache_dir=f"{home}/made")
os.makedirs(f"{home}/datasets/someone___questions")
(made,) = os.listdir(f"{home}/made/parquet")
shutil.copytree(f"{home}/made/parquet/{made}", f"{home}/datasets/someone___questions/default")
folder = f"{home}/datasets/someone___questions/default/0.0.0"
(named,) = [name for name in os.listdir(folder) if os.path.isdir(f"{folder}/{name}")]
for name in os.listdir(f"{folder}/{named}"):
    if name.startswith("parquet-"):
        os.rename(f"{folder}/{named}/{name}", f"{folder}/{named}/questions-{name[8:]}")
"""


def test_a_data_set_of_the_hub_is_read_offline_from_its_cache(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", CACHED, str(tmp_path)], check=True, capture_output=True)
    assert from_the_hub("someone/questions", tmp_path) == "['train 0', 'train 1']"
    assert from_the_hub("someone/questions:test", tmp_path) == "['test 0', 'test 1']"
    assert from_the_hub("someone/questions:dev", tmp_path) == (
        "someone/questions:dev: no such split; "
        "there are someone/questions:train, someone/questions:test."
    )


def test_a_hub_that_fails_is_one_line(tmp_path: Path) -> None:
    message = from_the_hub("nobody/nothing", tmp_path)
    assert message.startswith("nobody/nothing: neither a file or folder here nor a data set")
    assert "\n" not in message


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for number in range(50_000):
            file.write(json.dumps({"id": number, "prompt": "x" * 400}) + "\n")
    tracemalloc.start()
    count = sum(1 for _ in read_rows(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 50_000
    assert peak < 2_000_000 < path.stat().st_size


def test_ids_are_known_whether_they_came_lately_or_long_ago() -> None:
    names = [str(number * 7 % 101) for number in range(250)]
    seen, known = Ids(most=10), set[str]()
    for name in names:
        assert (name in seen) == (name in known)
        seen.add(name)
        known.add(name)
    assert "101" not in seen


def test_ids_take_little_memory() -> None:
    """A set of so many hashes takes 11 MB or more."""
    seen = Ids(most=4096)
    seen.add("numpy is loaded")
    seen._sort()
    tracemalloc.start()
    for number in range(131_072):
        seen.add(str(number))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "131071" in seen and "131072" not in seen
    assert held < 2_000_000
