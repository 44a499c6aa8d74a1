"""From prompts to pairs: written as they come, there when all are."""

import json
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

PLUGIN = '''
import gc
import os
import signal

import attrs
import cpt


@attrs.frozen
class Parrot(cpt.Local):
    """Says it again."""

    name = "parrot"
    journaled = False

    def answer_all(self, requests):
        return [cpt.Response(prompt_id=p.id, text=p.text, author="parrot") for p, _ in requests]


@attrs.frozen
class Watched(cpt.Pairer):
    """Notes how many pairs there are in memory."""

    name = "watched"
    kill_at: str = ""
    """At which prompt the process is killed."""
    empty: bool = False
    """Make no sound pair."""

    async def pair(self, prompt, ask):
        if prompt.id == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if int(prompt.id) % 500 == 499:
            alive = sum(type(thing) is cpt.Pair for thing in gc.get_objects())
            with open("alive.log", "a") as log:
                log.write(f"{alive} ")
        said = (await ask(Parrot(), prompt)).expect()
        rejected = attrs.evolve(said, text="" if self.empty else "no", author="nobody")
        return [cpt.Pair(prompt=prompt, chosen=said, rejected=rejected)]


@cpt.hookimpl
def cpt_pairers():
    return [Watched]
'''


@pytest.fixture
def told(tmp_path):
    """Makes pairs of so many prompts."""
    (tmp_path / "watched.py").write_text(PLUGIN)

    def line(prompts, *more):
        rows = ({"id": str(row), "prompt": f"question {row}"} for row in range(prompts))
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "prompts.jsonl").write_text(text)
        told = ["-p", "watched.py", "pair", "--prompts", "prompts.jsonl", "--pairer", "watched"]
        return [*told, "--output", "run", *more]

    return line


def left():
    return [path.name for path in Path("run").iterdir() if path.name.endswith(".tmp")]


def test_pairs_are_not_held_in_memory(cpt_cli, told):
    result = cpt_cli(*told(1500, "--asking.at-once", "4"))
    assert result.exit_code == 0, result.stderr
    alive = [int(count) for count in Path("alive.log").read_text().split()]
    assert len(alive) == 3
    assert max(alive) < 300


def test_pairs_stand_in_the_order_of_the_prompts_in_row_groups(cpt_cli, told, monkeypatch):
    monkeypatch.setattr("cpt.data.rows.writing.CHUNK", 40_000)
    assert cpt_cli(*told(1200)).exit_code == 0
    table = pq.ParquetFile("run/pairs.parquet")
    assert table.metadata.num_row_groups > 3
    rows = table.read().to_pylist()
    assert [row["prompt_id"] for row in rows] == [str(row) for row in range(1200)]
    assert rows[7]["chosen"] == [{"role": "assistant", "content": "question 7"}]
    outcomes = [json.loads(line) for line in Path("run/outcomes.jsonl").read_text().splitlines()]
    assert [outcome["prompt_id"] for outcome in outcomes] == [str(row) for row in range(1200)]


def test_no_pair_at_all_leaves_the_reasons_and_no_table(cpt_cli, told):
    result = cpt_cli(*told(3, "--pairer.empty"))
    assert result.exit_code == 2
    assert "no prompt gave a pair (3 empty)." in result.stderr
    assert not Path("run/pairs.parquet").exists()
    assert len(Path("run/outcomes.jsonl").read_text().splitlines()) == 3
    assert left() == []


def test_what_a_killed_run_left_is_taken_away(commands, cpt_cli, told, tmp_path):
    killed = commands.one(*told(20, "--pairer.kill-at", "15"), cwd=tmp_path)
    assert killed.status == -signal.SIGKILL
    assert not Path("run/pairs.parquet").exists()
    assert {name.partition(".t")[0].strip(".").rpartition(".")[0] for name in left()} == {
        *("pairs.parquet", "outcomes.jsonl")
    }
    assert cpt_cli(*told(20, "--pairer.kill-at", "")).exit_code == 0
    assert left() == []
    assert pq.read_table("run/pairs.parquet").num_rows == 20


def test_pairs_that_are_taken_are_not_held_either(tmp_path):
    """A source is read as it is written: the second row is wrong, and the first was yielded."""
    from cpt.data import each_pair
    from cpt.errors import BadData

    rows = [{"prompt": "q", "chosen": "good", "rejected": "bad"}, {"prompt": "q", "chosen": "good"}]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = each_pair(tmp_path / "pairs.jsonl")
    assert next(pairs).chosen.text == "good"
    with pytest.raises(BadData):
        next(pairs)
