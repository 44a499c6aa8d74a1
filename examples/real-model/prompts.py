"""Prompts whose instructions a program can check, and held-out ones about other topics.

    python examples/real-model/prompts.py FOLDER --train 200 --held-out 60

writes FOLDER/train.jsonl and FOLDER/held_out.jsonl, always the same for the same numbers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import islice, product
from pathlib import Path
from random import Random
from typing import Any

TOPICS = (
    "bread", "bicycles", "rainbows", "chess", "libraries", "volcanoes", "tea", "bees", "glaciers",
    "the moon", "trains", "mushrooms", "soap", "maps", "sleep", "paper", "lighthouses", "gardens",
    "coffee", "dolphins", "mirrors", "bridges", "music", "tides", "clocks", "owls", "salt", "kites",
    "gravity", "wool", "earthquakes", "pencils", "rivers", "honey", "batteries", "snow", "spices",
    "markets", "windmills", "shoes", "stars", "windows", "cheese", "deserts", "forests", "islands",
    "swimming", "languages", "wolves", "theatre", "clouds", "rice", "ships", "tunnels", "potatoes",
    "newspapers", "museums", "elephants", "thunder", "ladders",
)  # fmt: skip
HELD_OUT = TOPICS[::4]
"""Topics that no prompt for training is about."""
REQUESTS = (
    "Tell me about {} in two sentences.",
    "Why do people like {}? Answer briefly.",
    "What should a child know about {}? Be brief.",
    "Write a short note about {} for a friend.",
    "Name one surprising fact about {} and explain it.",
    "What would we do without {}? Answer in a few words.",
)
KINDS: Sequence[tuple[str, str, dict[str, Any]]] = (
    ("change_case:english_lowercase", "Write all of it in lowercase letters.", {}),
    ("change_case:english_capital", "Write all of it in capital letters.", {}),
    ("punctuation:no_comma", "Do not use any commas.", {}),
    ("startend:quotation", "Put the whole answer in double quotation marks.", {}),
    (
        "startend:end_checker",
        'End with exactly this phrase: "That is all."',
        {"end_phrase": "That is all."},
    ),
    (
        "detectable_format:number_bullet_lists",
        'Answer in exactly 3 bullet points; each begins with "* ".',
        {"num_bullets": 3},
    ),
    ("detectable_format:title", "Begin with a title like this: <<title>>.", {}),
    (
        "detectable_format:number_highlighted_sections",
        "Put at least 2 words between asterisks, like *this*.",
        {"num_highlights": 2},
    ),
    (
        "detectable_content:postscript",
        'Add a postscript that begins with "P.S."',
        {"postscript_marker": "P.S."},
    ),
    (
        "keywords:existence",
        'Use the words "simple" and "old".',
        {"keywords": ["simple", "old"]},
    ),
    (
        "keywords:forbidden_words",
        'Do not use the words "and" and "can".',
        {"forbidden_words": ["and", "can"]},
    ),
    (
        "length_constraints:number_words",
        "Use less than 30 words.",
        {"num_words": 30, "relation": "less than"},
    ),
)
"""Instructions by IFEval's names, as they are worded, with the arguments of their checks."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--train", type=int, default=200, help="prompts for training")
    parser.add_argument("--held-out", type=int, default=60, help="prompts to measure on")
    given = parser.parse_args()
    train = [topic for topic in TOPICS if topic not in HELD_OUT]
    write(given.folder / "train.jsonl", "train", train, given.train)
    write(given.folder / "held_out.jsonl", "held-out", HELD_OUT, given.held_out)


def write(file: Path, name: str, topics: Sequence[str], count: int) -> None:
    """The first so many prompts about some topics."""
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row) + "\n" for row in islice(rows(name, topics), count)]
    if len(lines) < count:
        raise SystemExit(f"{file}: there are only {len(lines)} such prompts.")
    file.write_text("".join(lines), encoding="utf-8")


def rows(name: str, topics: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every request about every topic in random order, each with one or two instructions."""
    asked = list(product(REQUESTS, topics))
    random = Random(name)
    random.shuffle(asked)
    for number, (request, topic) in enumerate(asked):
        kinds = drawn(random)
        yield {
            "id": f"{name}-{number}",
            "prompt": " ".join([request.format(topic), *(text for _, text, _ in kinds)]),
            "instruction_id_list": [kind for kind, _, _ in kinds],
            "kwargs": [arguments for _, _, arguments in kinds],
        }


def drawn(random: Random) -> Sequence[tuple[str, str, dict[str, Any]]]:
    """One or two instructions, of different groups: those of one group may contradict."""
    kinds = random.sample(KINDS, random.choice((1, 2)))
    groups = {kind.partition(":")[0] for kind, _, _ in kinds}
    return kinds if len(groups) == len(kinds) else kinds[:1]


if __name__ == "__main__":
    main()
