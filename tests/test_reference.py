"""Reference log-probabilities: computed once, found ever after, never another model's."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from cpt import CptError
from cpt.models import weights_digest
from cpt.training.data.prepare import prepare
from cpt.training.data.sequences import TokenSequence
from cpt.training.options import Training
from cpt.training.reference import scoring
from cpt.training.reference.store import open_store

from . import tiny

PAIRS = tiny.ladder(prompts=4, rungs=3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tiny.folder(tmp_path / "base")


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bytes]]:
    """Keys of the sequences that a model was asked about, in order."""
    seen: list[bytes] = []
    score = scoring.Scorer.score

    def counting(self: Any, sequences: Sequence[TokenSequence], *rest: Any) -> Any:
        seen.extend(sequence.digest for sequence in sequences)
        return score(self, sequences, *rest)

    monkeypatch.setattr(scoring.Scorer, "score", counting)
    yield seen


def plain_logps(folder: Path, sequence: TokenSequence) -> np.ndarray[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.from_numpy(np.concatenate([sequence.prompt, sequence.answer]))
    with torch.no_grad():
        logps = model(ids[None]).logits[0].log_softmax(-1)
    at = torch.arange(len(sequence.prompt) - 1, len(ids) - 1)
    return logps[at, ids[at + 1]].numpy()


def kept(folder: Path) -> dict[bytes, Any]:
    (name,) = (made.name for made in (folder / "reference").iterdir())
    corpus, _ = prepare(PAIRS, tiny.tokenizer(), Training())
    return open_store(folder, name).read({sequence.digest for sequence in corpus.sequences})


def test_the_values_are_those_of_the_model(tmp_path: Path, model: Path) -> None:
    tiny.train(tmp_path / "run", model, PAIRS)
    corpus, _ = prepare(PAIRS, tiny.tokenizer(), Training())
    values = kept(tmp_path / "run")
    assert len(values) == len(corpus.sequences) == 12
    for sequence in corpus.sequences:
        np.testing.assert_allclose(values[sequence.digest], plain_logps(model, sequence), atol=2e-5)


def test_how_far_they_have_come_is_reported(tmp_path: Path, model: Path) -> None:
    reported: list[tuple[int, int]] = []

    def notify(event: str, **facts: Any) -> None:
        if event == "cpt_references_computed":
            reported.append((facts["done"], facts["total"]))

    tiny.train(tmp_path / "run", model, PAIRS, notify=notify, micro_tokens=100)
    corpus, _ = prepare(PAIRS, tiny.tokenizer(), Training())
    tokens = sum(sequence.input_length for sequence in corpus.sequences)
    assert reported[0] == (0, tokens) and reported[-1] == (tokens, tokens)
    assert reported == sorted(reported) and len({done for done, _ in reported}) > 3
    reported.clear()
    tiny.train(tmp_path / "again", model, PAIRS, notify=notify)
    assert not reported


def test_an_answer_that_pairs_share_is_computed_once(
    tmp_path: Path, model: Path, scored: list[bytes]
) -> None:
    tiny.train(tmp_path / "run", model, PAIRS, epochs=2, scheduler=tiny.Mixed())
    assert len(PAIRS) == 12 and len(scored) == len(set(scored)) == 12


def test_long_rows_come_first_and_one_prompt_together(
    tmp_path: Path, model: Path, scored: list[bytes]
) -> None:
    corpus, _ = prepare(PAIRS, tiny.tokenizer(), Training())
    tiny.train(tmp_path / "run", model, PAIRS)
    sequence = {sequence.digest: sequence for sequence in corpus.sequences}
    prompts = [sequence[digest].prompt.tobytes() for digest in scored]
    assert len(list(dict.fromkeys(prompts))) == 4
    assert prompts == sorted(prompts, key=list(dict.fromkeys(prompts)).index)
    longest = [
        max(other.input_length for other in sequence.values() if other.prompt.tobytes() == prompt)
        for prompt in dict.fromkeys(prompts)
    ]
    assert longest == sorted(longest, reverse=True)


@pytest.mark.parametrize(
    "other",
    [
        {"loss": tiny.Sigmoid(beta=0.5)},
        {"loss": tiny.ByToken()},
        {"scheduler": tiny.Mixed(), "seed": 5, "epochs": 3},
        {"batch_size": 3, "micro_tokens": 90, "learning_rate": 1e-5},
        {"lora_rank": 2},
        {"gradient_checkpointing": True},
    ],
    ids=str,
)
def test_another_training_on_the_same_pairs_computes_nothing(
    tmp_path: Path, model: Path, scored: list[bytes], other: dict[str, Any]
) -> None:
    tiny.train(tmp_path / "first", model, PAIRS)
    scored.clear()
    line = tiny.train(tmp_path / "second", model, PAIRS, **other)[0]
    assert not scored
    assert line["rewards/margins"] == 0.0


def test_more_pairs_cost_only_what_is_new(tmp_path: Path, model: Path, scored: list[bytes]) -> None:
    tiny.train(tmp_path / "first", model, PAIRS)
    scored.clear()
    tiny.train(tmp_path / "second", model, [*PAIRS, tiny.pair("new", "ab", "cd")])
    assert len(scored) == 2


def change_weights(folder: Path) -> None:
    before = os.stat(folder / "model.safetensors")
    other = tiny.model(seed=1)
    other.save_pretrained(folder)
    os.utime(folder / "model.safetensors", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(folder / "model.safetensors").st_size == before.st_size


def change_template(folder: Path) -> None:
    template = tiny.CHATML.replace("assistant\n{%", "assistant:\n{%")
    (folder / "chat_template.jinja").write_text(template)


def change_config(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["rope_parameters"]["rope_theta"] = 100.0
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("change", [change_weights, change_template, change_config])
def test_what_another_model_said_is_never_taken(
    tmp_path: Path, model: Path, scored: list[bytes], change: Any
) -> None:
    tiny.train(tmp_path / "first", model, PAIRS)
    scored.clear()
    change(model)
    tiny.train(tmp_path / "second", model, PAIRS)
    assert len(scored) == 12


def test_a_cut_answer_is_another_sequence(tmp_path: Path, model: Path, scored: list[bytes]) -> None:
    pair = tiny.pair("q", "a" * 40, "b" * 40)
    tiny.train(tmp_path / "first", model, [pair])
    tiny.train(tmp_path / "second", model, [pair], max_length=50, truncate=True)
    assert len(set(scored)) == len(scored) == 4


def test_another_precision_is_another_value(
    tmp_path: Path, model: Path, scored: list[bytes]
) -> None:
    tiny.train(tmp_path / "first", model, PAIRS)
    tiny.train(tmp_path / "second", model, PAIRS, precision="bf16")
    assert len(scored) == 24


def test_a_run_that_is_taken_elsewhere_has_all_it_needs(
    tmp_path: Path, model: Path, cache: Path, scored: list[bytes]
) -> None:
    tiny.train(tmp_path / "run", model, PAIRS)
    shutil.rmtree(cache)
    shutil.rmtree(tmp_path / "run" / "model")
    scored.clear()
    tiny.train(tmp_path / "run", model, PAIRS)
    assert not scored


def test_a_damaged_file_is_named(tmp_path: Path, model: Path, cache: Path) -> None:
    tiny.train(tmp_path / "first", model, PAIRS)
    (file,) = cache.glob("reference/*/*.safetensors")
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CptError, match=f"{file.name}: damaged"):
        tiny.train(tmp_path / "second", model, PAIRS)


def test_values_that_are_not_the_models_stop_the_training(
    tmp_path: Path, model: Path, cache: Path
) -> None:
    tiny.train(tmp_path / "first", model, PAIRS)
    (folder,) = cache.glob("reference/*")
    files = open_store(tmp_path / "none", folder.name)
    values = kept(tmp_path / "first")
    shutil.rmtree(folder)
    files.add({digest: logps - 1 for digest, logps in values.items()})
    with pytest.raises(CptError, match="not those of"):
        tiny.train(tmp_path / "second", model, PAIRS)


def test_a_loss_without_a_reference_pays_for_none(
    tmp_path: Path, model: Path, scored: list[bytes]
) -> None:
    tiny.train(tmp_path / "run", model, PAIRS, loss=tiny.Imitate())
    assert not scored and not (tmp_path / "run" / "reference").exists()


def test_another_reference_model(tmp_path: Path, model: Path) -> None:
    other = tiny.folder(tmp_path / "other", seed=1)
    line = tiny.train(tmp_path / "run", model, PAIRS[:4], batch_size=4, reference=str(other))[0]
    corpus, _ = prepare(PAIRS[:4], tiny.tokenizer(), Training())
    ratios = [
        plain_logps(model, sequence).sum() - plain_logps(other, sequence).sum()
        for sequence in (corpus.sequences[int(index)] for index in corpus.chosen)
    ]
    assert line["rewards/chosen"] == pytest.approx(0.1 * np.mean(ratios), rel=1e-4)


def test_a_file_of_weights_is_read_once(model: Path, cache: Path) -> None:
    first = weights_digest(model)
    known = json.loads((cache / "digests.json").read_text())
    assert len(known) == 2
    assert weights_digest(model) == first
    (model / "generation_config.json").write_text("{}")
    assert weights_digest(model) == first


def test_a_digest_tells_prompt_from_answer() -> None:
    sequence = TokenSequence([1, 2, 3], [4, 5])
    assert sequence.digest == TokenSequence([1, 2, 3], [4, 5]).digest
    others = [
        TokenSequence([1, 2], [3, 4, 5]),
        TokenSequence([1, 2, 3, 4], [5]),
        TokenSequence([1, 2, 3], [5, 4]),
    ]
    assert len({other.digest for other in [sequence, *others]}) == 4
