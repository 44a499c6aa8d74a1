"""Families from a folder to a folder: trained, exported, and read again by transformers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from cpt import PairLogps
from cpt.likelihood import Reading, log_probabilities
from cpt.training.data.prepare import prepare
from cpt.training.options import Training

from . import tiny
from .families import plain

PAIRS = tiny.pairs(4)
LORA = {"lora_rank": 2}


@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gpt_oss", LORA),
        ("deepseek_v3", {}),
        ("lfm2", {**LORA, "gradient_checkpointing": True}),
        ("granitemoehybrid, mamba", LORA),
    ],
)
def test_what_is_exported_is_what_transformers_reads(
    family: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CPT_CACHE", str(tmp_path / "cache"))
    base = tiny.of_family(tmp_path / "base", family)
    tiny.train(tmp_path / "run", base, PAIRS, **options)
    metrics = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(metrics[0])["loss"] == pytest.approx(0.693147, abs=1e-5)
    made = tmp_path / "run" / "model"
    found = log_probabilities(PAIRS, made, Reading())
    new, old = (AutoModelForCausalLM.from_pretrained(each).eval() for each in (made, base))
    assert new.state_dict().keys() == old.state_dict().keys()
    corpus, _ = prepare(PAIRS, tiny.tokenizer(), Training(), len(tiny.tokenizer()))
    with torch.no_grad():
        for pair, at in zip(PAIRS, corpus.chosen, strict=True):
            read = plain(new, corpus.sequences[at]).sum()
            ours = found[pair.id]
            assert isinstance(ours, PairLogps)
            assert ours.chosen == pytest.approx(float(read), abs=1e-3)
            assert abs(read - plain(old, corpus.sequences[at]).sum()) > 1e-3, "nothing was learned"
