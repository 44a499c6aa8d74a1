"""Pairs on the disk: prepared in parts, kept, and trained on as if they were in memory."""

from __future__ import annotations

import gc
import hashlib
import json
import pickle
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

from cpt import CptError, Pair
from cpt.data import read_pairs, write_pairs
from cpt.data.stored import StoredPairs
from cpt.errors import BadData
from cpt.models import weights_digest
from cpt.training.data import kept, prepare
from cpt.training.data.corpus import Corpus
from cpt.training.data.findings import Diagnosis
from cpt.training.data.tokens import encode
from cpt.training.options import Training
from cpt.training.planning.plan import Plan, _decides, make_plan
from cpt.types.batch import PairFacts

from . import tiny

LADDER = [
    attrs.evolve(
        pair,
        weight=1 + number / 7,
        pairer="one" if number % 2 else "two",
        prompt=attrs.evolve(pair.prompt, info={"domain": f"ä{number}\n"}),
    )
    for number, pair in enumerate(tiny.ladder(prompts=9, rungs=3))
]
PAIRS = [*LADDER, tiny.pair("same", "ab", "ab"), tiny.pair("new", "ab", "cd")]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def stored(tmp_path: Path) -> StoredPairs:
    write_pairs(tmp_path / "pairs.parquet", PAIRS)
    return StoredPairs.of(tmp_path / "pairs.parquet")


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of five pairs, all but the first as another process would prepare them."""

    def sent(work: Callable[[Any], Any], parts: Iterable[Any]) -> Iterator[Any]:
        there = pickle.loads(pickle.dumps(work))
        return (pickle.loads(pickle.dumps(there(pickle.loads(pickle.dumps(p))))) for p in parts)

    monkeypatch.setattr(prepare, "AT_ONCE", 5)
    monkeypatch.setattr(prepare, "FEW", 1)
    monkeypatch.setattr(prepare, "in_processes", sent)


def made(pairs: Sequence[Pair], **options: Any) -> tuple[Corpus, Diagnosis]:
    return prepare.prepare(pairs, tiny.tokenizer(), Training(), **options)


def same(one: Corpus, other: Corpus) -> None:
    assert list(one.facts) == list(other.facts)
    assert list(one.facts.texts()) == list(other.facts.texts())
    assert one.sequences.digests.tobytes() == other.sequences.digests.tobytes()
    for mine, yours in zip(one.sequences, other.sequences, strict=True):
        assert mine.digest == yours.digest
    for name in ("weights", "prompts", "chosen", "rejected"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert sorted(one.pairers) == sorted(other.pairers) == ["one", "two"]


def test_stored_pairs_are_a_sequence(stored: StoredPairs, tmp_path: Path) -> None:
    whole = read_pairs(tmp_path / "pairs.parquet")
    assert list(stored) == whole and len(stored) == len(whole)
    assert [stored[3], stored[-1]] == [whole[3], whole[-1]]
    assert list(stored[4:20:3]) == whole[4:20:3]
    assert list(stored[5:].take(np.array([7, 0, 2]))) == [whole[12], whole[5], whole[7]]
    assert stored[:3].digest != stored.digest == StoredPairs.of(stored.path).digest
    with pytest.raises(BadData, match=r"none.parquet: cannot be read"):
        StoredPairs.of(tmp_path / "none.parquet")


def test_groups_of_rows_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cpt.data.rows.writing.CHUNK", 2000)
    write_pairs(tmp_path / "pairs.parquet", PAIRS)
    stored = StoredPairs.of(tmp_path / "pairs.parquet")
    assert list(stored) == PAIRS
    assert [stored[place] for place in (20, 3, 27)] == [PAIRS[20], PAIRS[3], PAIRS[27]]


def test_parts_of_a_table_give_what_a_list_gives(stored: StoredPairs, in_parts: None) -> None:
    corpus, diagnosis = made(stored)
    assert corpus.pairs[-1] == PAIRS[-1] and len(corpus.pairs) == len(PAIRS) - 1
    whole, of_list = made(PAIRS)
    same(corpus, whole)
    assert diagnosis.plain() == of_list.plain() and diagnosis.counts["identical"] == 1


def test_cut_in_parts_or_whole(in_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    cut, found = made(PAIRS)
    monkeypatch.setattr(prepare, "AT_ONCE", 500)
    whole, of_whole = made(PAIRS)
    same(cut, whole)
    assert found.counts == of_whole.counts


def test_much_is_prepared_once(
    stored: StoredPairs, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LEAST", 10)
    model = tiny.folder(tmp_path / "model")
    corpus, diagnosis = made(stored, model=model)
    asked: list[int] = []

    def counting(*given: Any) -> Any:
        asked.append(1)
        return encode(*given)

    monkeypatch.setattr(prepare, "encode", counting)
    again, found = made(stored, model=model)
    assert not asked and attrs.asdict(found) == attrs.asdict(diagnosis)
    same(corpus, again)
    made(stored[:-1], model=model)
    prepare.prepare(stored, tiny.tokenizer(), Training(max_length=90), model=model)
    (model / "chat_template.jinja").write_text("other")
    made(stored, model=model)
    assert len(asked) == 3
    assert len(list(cache.glob("prepared/*/arrays.npz"))) == 4


def test_what_is_damaged_is_named(
    stored: StoredPairs, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LEAST", 10)
    model = tiny.folder(tmp_path / "model")
    made(stored, model=model)
    (file,) = cache.glob("prepared/*/arrays.npz")
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(CptError, match=f"{file.parent.name}: damaged .* delete this folder"):
        made(stored, model=model)


def test_a_cache_that_cannot_be_written_stops_nothing(
    stored: StoredPairs, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "LEAST", 10)
    model = tiny.folder(tmp_path / "model")
    cache.mkdir(exist_ok=True)
    (cache / "prepared").write_text("a file")
    same(made(stored, model=model)[0], made(PAIRS)[0])


def whole_digest(plan: Plan) -> str:
    """The digest of a plan, of one JSON text that is in memory as a whole."""
    corpus = plan.corpus

    def hashed(*parts: bytes) -> str:
        return hashlib.blake2b(b"".join(parts), digest_size=16).hexdigest()

    parts = {
        "models": [weights_digest(plan.folder)],
        "loss": {"name": plan.loss.name, **attrs.asdict(plan.loss)},
        "options": attrs.asdict(plan.options, filter=_decides),
        "seed": plan.seed,
        "sequences": hashed(*(sequence.digest for sequence in corpus.sequences)),
        "sides": hashed(corpus.chosen.tobytes(), corpus.rejected.tobytes()),
        "order": plan.order,
        "pairs": [attrs.asdict(PairFacts.of(pair), recurse=False) for pair in corpus.pairs],
        "weights": [pair.weight for pair in corpus.pairs],
    }
    return hashed(json.dumps(parts, default=str, sort_keys=True).encode())


def plan_of(pairs: Sequence[Pair], model: Path) -> Plan:
    options = Training(**tiny.OPTIONS)
    return make_plan(pairs, model, tiny.Mixed(), tiny.Sigmoid(), options, 3)


def test_the_digest_of_a_plan_is_what_it_was(stored: StoredPairs, tmp_path: Path) -> None:
    model = tiny.folder(tmp_path / "model")
    plans = [plan_of(pairs, model) for pairs in (PAIRS, stored)]
    assert {plan.digest for plan in plans} == {whole_digest(plans[0])}


def test_a_training_learns_the_same_from_the_disk(stored: StoredPairs, tmp_path: Path) -> None:
    model = tiny.folder(tmp_path / "model")
    lines = [
        tiny.train(tmp_path / name, model, pairs, scheduler=tiny.Mixed())
        for name, pairs in (("memory", PAIRS), ("disk", stored))
    ]
    costs = {"seconds", "tokens_per_second"}
    first, second = (
        [{k: v for k, v in line.items() if k not in costs} for line in each] for each in lines
    )
    assert first == second


def test_memory_does_not_grow_with_the_pairs(tmp_path: Path) -> None:
    model = tiny.folder(tmp_path / "model")
    pairs = [tiny.pair(f"q{n}", f"ab {n} cd", f"cd {n} ab") for n in range(700)]
    write_pairs(tmp_path / "pairs.parquet", pairs)
    stored = StoredPairs.of(tmp_path / "pairs.parquet")
    few, many = (_held(partial(plan_of, stored[:n], model)) for n in (100, 700))
    assert (many - few) / 600 < 1000


def _held(make: Callable[[], object]) -> int:
    """Bytes that something keeps in memory."""
    gc.collect()
    tracemalloc.start()
    try:
        thing = make()
        gc.collect()
        assert thing
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
