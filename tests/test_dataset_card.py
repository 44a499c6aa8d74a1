"""The card beside the pairs says what is in them, as the hub reads it, and nothing acts in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest
import yaml

from cpt.contrast import contrast
from cpt.data import write_pairs

from . import tiny

HOSTILE = "<script>alert(1)</script> | `x`\n# Heading"


@pytest.fixture
def card(cpt_cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)

    def made(*pairs: Any) -> str:
        write_pairs("pairs.jsonl", pairs)
        for output in ("one", "two"):
            done = cpt_cli("pair", "--pairs", "pairs.jsonl", "--output", output, "--redo")
            assert done.exit_code == 0, done.output
        text = Path("one/README.md").read_text()
        assert text == Path("two/README.md").read_text()
        return text

    return made


def test_the_card_has_the_numbers_of_the_set(card: Any) -> None:
    same = tiny.pair("q", "same", "same", id="same")
    good = attrs.evolve(tiny.pair("p", "a b c", "a b d e", id="good"), tier=2)
    text = card(good, same)
    _, head, body = text.split("---\n", 2)
    assert yaml.safe_load(head)["configs"] == [
        {"config_name": "default", "data_files": "pairs.parquet"}
    ]
    measured = contrast("a b c", "a b d e")
    assert f"| `jaccard` | {measured.jaccard} |" in body
    assert f"| `levenshtein` | {float(measured.levenshtein)} |" in body
    assert "| `strong over weak` | 1 |" in body and "| `2` | 1 |" in body
    assert "| `kept` | 1 |" in body and "| `dropped: identical` | 1 |" in body


def test_what_authors_are_called_is_shown_and_does_nothing(card: Any) -> None:
    pair = tiny.pair("p", "a b c", "a b d e", id="good")
    text = card(attrs.evolve(pair, chosen=attrs.evolve(pair.chosen, author=HOSTILE)))
    assert "# Heading" not in text.splitlines()
    (line,) = (line for line in text.splitlines() if "script" in line)
    assert line.startswith("| ``<script>") and "\\|" in line


def test_a_set_that_is_made_again_has_a_new_card(card: Any) -> None:
    first = card(tiny.pair("p", "a b c", "a b d e", id="good"))
    assert card(tiny.pair("p", "a", "b", id="good")) != first
