"""What the doctor measures of published answers is what was published of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

MEANS = {
    "jaccard": "jaccard_word",
    "levenshtein": "lev_char",
    "levenshtein_normalised": "lev_char_norm",
}


@pytest.mark.parametrize(
    ("chosen", "rejected"),
    [
        ("gpt4", "text_davinci_003"),
        ("gpt4", "gpt-3.5-turbo-0301"),
        ("gpt-3.5-turbo-0301", "text_davinci_003"),
    ],
)
def test_contrast_is_that_of_the_table(
    cpt_cli: Any, tmp_path: Path, published: Callable[[str], Path], chosen: str, rejected: str
) -> None:
    ladder = published("ladder_805.jsonl").read_text(encoding="utf-8").splitlines()
    reference = json.loads(published("contrastiveness/reference.json").read_text())
    wanted = reference["summary"][f"{chosen}_vs_{rejected}"]
    with (tmp_path / "pairs.jsonl").open("w", encoding="utf-8") as file:
        for row in map(json.loads, ladder):
            answers = row["responses"]
            pair = {"chosen": answers[chosen], "rejected": answers[rejected]}
            file.write(json.dumps({"id": row["id"], "prompt": row["prompt"], **pair}) + "\n")
    done = cpt_cli("doctor", tmp_path / "pairs.jsonl", "--json")
    report = json.loads(done.stdout)
    assert report["pairs"] == 805
    for ours, theirs in MEANS.items():
        assert report["contrast"][ours] == pytest.approx(wanted[theirs]["mean"], rel=1e-4)
    assert report["severity"]["length_tells"] == "warning"
    assert done.exit_code == 0
