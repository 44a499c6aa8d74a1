"""Filters between pairs and training: order, outcomes, what is asked again, what stops a run."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pyarrow.parquet as pq
import pytest
import yaml

import cpt
from cpt.errors import WrongReturn
from cpt.roles.returns import Decisions
from cpt.run.spool import AT_ONCE, Spool
from cpt.testing import fake_pairs

PLUGIN = '''
"""Pairs by number, and filters that look at the number."""

import os
import signal

import attrs
import cpt


@attrs.frozen
class Counted(cpt.Local):
    """Notes every question that it is asked."""

    name = "counted"
    model: str = "counted"

    def answer_all(self, requests):
        with open("asked.log", "a") as log:
            log.writelines(f"{prompt.id} " for prompt, _ in requests)
        return [cpt.Response(prompt_id=p.id, text=f"{p.text}!", author="c") for p, _ in requests]


@attrs.frozen
class Numbered(cpt.Pairer):
    """Two pairs for every prompt but the first."""

    name = "numbered"

    async def pair(self, prompt, ask):
        said = (await ask(Counted(), prompt)).expect()
        if prompt.id == "0":
            raise cpt.NoPair("tie", "both are good")
        return [
            cpt.Pair(prompt=prompt, chosen=said, rejected=attrs.evolve(said, text=no, author=no))
            for no in ("one", "two")
        ]


@attrs.frozen
class Below(cpt.Filter):
    """Keeps prompts with a low number."""

    name = "below"
    most: int = 5
    """The last that is kept."""
    kill: bool = False
    """Whether the process dies at the last pair."""

    def filter(self, pairs):
        for pair in pairs:
            if self.kill and int(pair.prompt.id) > self.most:
                os.kill(os.getpid(), signal.SIGKILL)
            if int(pair.prompt.id) > self.most:
                yield cpt.Drop("too_high", f"{pair.prompt.id} is above {self.most}")
            else:
                yield pair


@attrs.frozen
class Half(cpt.Filter):
    """Keeps the first half of the set."""

    name = "half"

    def filter(self, pairs):
        count = sum(1 for _ in pairs)
        for place, pair in enumerate(pairs):
            yield pair if place < count / 2 else cpt.Drop("second_half")


@attrs.frozen
class Swap(cpt.Filter):
    """Exchanges the sides."""

    name = "swap"

    def filter(self, pairs):
        for pair in pairs:
            yield attrs.evolve(pair, chosen=pair.rejected, rejected=pair.chosen)


@attrs.frozen
class Lazy(cpt.Filter):
    """Leaves dropped pairs out."""

    name = "lazy"

    def filter(self, pairs):
        yield from list(pairs)[1:]


@cpt.hookimpl
def cpt_pairers():
    return [Numbered]


@cpt.hookimpl
def cpt_filters():
    return [Below, Half, Swap, Lazy]
'''


@pytest.fixture
def pair(cpt_cli, tmp_path):
    """Makes pairs of ten prompts in the folder `run`."""
    (tmp_path / "sieves.py").write_text(PLUGIN)
    rows = ({"id": str(row), "prompt": f"question {row}"} for row in range(10))
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(*more, source=("--prompts", "prompts.jsonl", "--pairer", "numbered"), command="pair"):
        return cpt_cli("-p", "sieves.py", command, *source, "--output", "run", *more)

    return run


def table(run="run"):
    return pq.read_table(f"{run}/pairs.parquet").to_pylist()


def ids():
    return [row["prompt_id"] for row in table()]


def outcomes():
    return [json.loads(line) for line in Path("run/outcomes.jsonl").read_text().splitlines()]


def summary():
    return yaml.safe_load(Path("run/run.yaml").read_text())["stages"]["pairs"]["summary"]


def test_a_dropped_pair_is_recorded_and_counted_under_the_filters_name(pair):
    done = pair("--filters", "below", "--filters.most", "3")
    assert done.exit_code == 0, done.stderr
    assert ids() == ["1", "1", "2", "2", "3", "3"]
    assert summary() == {
        "pairs": 6,
        "dropped": {"below": 12},
        "outcomes": {"tie": 1, "kept": 3, "below": 6},
    }
    by_prompt = {outcome["prompt_id"]: outcome for outcome in outcomes()}
    assert list(by_prompt) == [str(row) for row in range(10)]
    assert (by_prompt["0"]["outcome"], by_prompt["0"]["detail"]) == ("tie", "both are good")
    assert (by_prompt["3"]["outcome"], by_prompt["3"]["pairs"]) == ("kept", 2)
    assert (by_prompt["4"]["outcome"], by_prompt["4"]["pairs"]) == ("below", 0)
    assert by_prompt["4"]["dropped"] == [
        {"pair": f"4/c>{side}", "reason": "below", "detail": "too_high: 4 is above 3"}
        for side in ("one", "two")
    ]
    assert "dropped   below: 4/c>one" in done.stdout


def test_the_next_filter_sees_what_the_one_before_left(pair):
    assert pair("--filters", "below", "--filters", "half").exit_code == 0
    assert ids() == ["1", "1", "2", "2", "3"]
    assert summary()["dropped"] == {"below": 8, "half": 5}
    assert pair("--filters", "half", "--filters", "below", "--redo").exit_code == 0
    assert ids() == ["1", "1", "2", "2", "3", "3", "4", "4", "5"]
    assert summary()["dropped"] == {"half": 9}


def test_two_of_one_name_have_options_by_number(pair):
    options = ("--filters.0.most", "7", "--filters.1.most", "2")
    assert pair("--filters", "below", "--filters", "below", *options).exit_code == 0
    assert ids() == ["1", "1", "2", "2"]
    details = [dropped["detail"] for outcome in outcomes() for dropped in outcome["dropped"]]
    assert details[0] == "too_high: 3 is above 2"
    assert details[-1] == "too_high: 9 is above 7"


def test_other_filters_make_the_pairs_again_and_ask_nothing_again(pair):
    assert pair().exit_code == 0
    asked = Path("asked.log").read_text()
    refused = pair("--filters", "half")
    assert refused.exit_code == 2
    assert "stage 'pairs' was made with filters [], not" in refused.stderr
    assert pair("--filters", "half", "--redo").exit_code == 0
    assert len(ids()) == 9
    assert Path("asked.log").read_text() == asked


def test_no_text_takes_the_filters_back(pair):
    assert pair("--filters", "half").exit_code == 0
    assert pair("--filters", "", "--redo").exit_code == 0
    assert len(ids()) == 18


def test_a_changed_pair_is_what_is_written(pair):
    assert pair("--filters", "swap").exit_code == 0
    assert table()[0]["id"] == "1/c>one"
    assert table()[0]["chosen"][-1]["content"] == "one"
    assert summary()["dropped"] == {}


def test_given_pairs_are_filtered_too(pair, tmp_path):
    rows = [
        {
            "id": f"p{row}",
            "prompt_id": str(row),
            "prompt": f"q{row}",
            "chosen": "a",
            "rejected": "b",
        }
        for row in range(8)
    ]
    rows[2]["rejected"] = "a"
    rows[3]["chosen"] = ""
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = pair("--filters", "below", source=("--pairs", "pairs.jsonl"))
    assert done.exit_code == 0, done.stderr
    assert [row["id"] for row in table()] == ["p0", "p1", "p4", "p5"]
    assert summary() == {"pairs": 4, "dropped": {"identical": 1, "empty": 1, "below": 2}}
    assert [outcome["outcome"] for outcome in outcomes()] == [
        *("kept", "kept", "identical", "empty"),
        *("kept", "kept", "below", "below"),
    ]


def test_a_filter_that_drops_everything_stops_and_says_why(pair, tmp_path):
    done = pair("--filters", "half", "--filters", "below", "--filters.1.most", "0")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == (
        "cpt: run: the filter 'below' dropped all of 9 pairs (9 too_high; for example: 1 is above "
        "0); change its options or leave it out."
    )
    assert not Path("run/pairs.parquet").exists()
    assert sum(len(outcome["dropped"]) for outcome in outcomes()) == 18
    assert pair("--filters", "half").exit_code == 0, "the same folder takes better options"
    row = {"id": "p9", "prompt_id": "9", "prompt": "q", "chosen": "a", "rejected": "b"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row))
    given = pair("--filters", "below", "--redo", source=("--pairs", "pairs.jsonl"))
    assert given.exit_code == 2
    assert "--pairs pairs.jsonl: the filter 'below' dropped all of 1 pairs" in given.stderr


def test_training_refuses_filters_that_the_pairs_did_not_go_through(pair):
    assert pair("--filters", "half").exit_code == 0
    refused = pair("--filters", "below", "--model", "none", command="train", source=())
    assert refused.exit_code == 2
    assert "`cpt pair --redo` makes them again" in refused.stderr


def test_a_run_that_was_killed_while_filtering_goes_on(commands, pair, tmp_path):
    line = (
        "-p sieves.py pair --prompts prompts.jsonl --pairer numbered --filters below "
        "--filters.kill --output run"
    )
    assert commands.one(*line.split(), cwd=tmp_path).status == -signal.SIGKILL
    assert not Path("run/pairs.parquet").exists()
    asked = Path("asked.log").read_text()
    assert pair("--filters", "below", "--redo").exit_code == 0
    assert len(ids()) == 10
    assert Path("asked.log").read_text() == asked
    assert [path.name for path in Path("run").iterdir() if path.name.endswith(".tmp")] == []


def test_pairs_that_wait_for_a_filter_are_on_the_disk(tmp_path):
    spool = Spool.of(range(3 * AT_ONCE + 1), tmp_path)
    first, second = iter(spool), iter(spool)
    assert next(first) == next(second) == 0
    assert list(spool) == list(range(3 * AT_ONCE + 1))
    assert list(first) == list(second)
    assert spool.latest == [3 * AT_ONCE]
    assert list(tmp_path.iterdir()) == []
    spool.close()


PAIRS = fake_pairs(2)
MUST = "`filter` must yield, for each pair in order, the pair or a Drop."


@attrs.frozen
class Mine(cpt.Filter):
    """Yields what it is given."""

    name = "mine"
    made: Any
    """What it yields."""

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        return self.made


@attrs.frozen
class Slow(cpt.Filter):
    """Is async."""

    name = "mine"

    async def filter(self, pairs: Iterable[cpt.Pair]) -> Any:
        for pair in pairs:
            yield pair


@pytest.mark.parametrize(
    ("filter", "said"),
    [
        (Mine(None), f"returned None; {MUST}"),
        (Mine("kept"), f"returned 'kept'; {MUST}"),
        (Mine({}), f"returned a dict; {MUST}"),
        (Slow(), f"returned an async generator; {MUST}"),
        (Mine(PAIRS[:1]), f"returned 1 decisions and no more, at pair '{PAIRS[1].id}'; {MUST}"),
        (Mine([*PAIRS, PAIRS[0]]), f"returned a Pair after the last pair; {MUST}"),
        (Mine([True, False]), f"returned True for pair '{PAIRS[0].id}'; {MUST}"),
        (
            Mine(PAIRS[::-1]),
            f"returned a Pair for pair '{PAIRS[0].id}'; this one is '{PAIRS[1].id}': keep the "
            "order.",
        ),
        (
            Mine([cpt.Drop("too long"), PAIRS[1]]),
            f"returned 'too long' for pair '{PAIRS[0].id}'; the reason of a Drop has no blanks.",
        ),
    ],
)
def test_what_a_filter_returns_is_checked(filter: cpt.Filter, said: str) -> None:
    with pytest.raises(WrongReturn) as caught:
        decisions = Decisions.of(filter, PAIRS)
        for pair in PAIRS:
            decisions.next(pair)
        decisions.end()
    assert caught.value.message == f"the filter 'mine' {said}"


def test_a_wrong_filter_is_one_line_on_the_command_line(pair):
    done = pair("--filters", "lazy")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("cpt: the filter 'lazy' returned a Pair for")


def test_a_record_from_before_there_were_filters_is_taken_as_none(pair):
    assert pair().exit_code == 0
    record = yaml.safe_load(Path("run/run.yaml").read_text())
    del record["options"]["filters"], record["stages"]["pairs"]["options"]["filters"]
    Path("run/run.yaml").write_text(yaml.safe_dump(record, sort_keys=False))
    before = Path("run/pairs.parquet").stat().st_mtime_ns
    assert pair().exit_code == 0
    assert Path("run/pairs.parquet").stat().st_mtime_ns == before
