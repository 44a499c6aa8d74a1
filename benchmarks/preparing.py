"""Rows a second, and a CPU second, from pairs as text to token ids: this project and TRL.

    python benchmarks/preparing.py --pairs ladder.jsonl --rows 50000

TRL caches what it prepared by content; a fresh folder for the cache makes it work each time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import attrs
import material

from cpt.types import Pair


@attrs.frozen
class Cost:
    """What it took to prepare all rows."""

    wall: float
    cpu: float
    tokens: int


def ours(pairs: Sequence[Pair], model: Path, longest: int) -> Callable[[], int]:
    from cpt.training.doctor import prepare
    from cpt.training.options import Training
    from cpt.training.tokens import load_tokenizer

    tokenizer = load_tokenizer(model)

    def work() -> int:
        corpus, _ = prepare(pairs, tokenizer, Training(max_length=longest))
        return sum(len(row.answer) for row in corpus.sequences)

    return work


def trl(pairs: Sequence[Pair], model: Path, longest: int) -> Callable[[], int]:
    import datasets
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = datasets.Dataset.from_list(material.conversations(pairs))
    trainer = DPOTrainer.__new__(DPOTrainer)  # The step alone, without a model.
    trainer._tokenizer = tokenizer
    arguments = DPOConfig(output_dir=str(model), max_length=longest, report_to=[], use_cpu=True)

    def work() -> int:
        prepared = trainer._prepare_dataset(rows, tokenizer, arguments, "train")
        return sum(map(len, prepared["chosen_ids"])) + sum(map(len, prepared["rejected_ids"]))

    return work


def child(name: str, pairs: Sequence[Pair], model: Path, longest: int, end: Connection) -> None:
    work = {"cpt": ours, "trl": trl}[name](pairs, model, longest)
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    tokens = work()
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    end.send(Cost(wall, cpu, tokens))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True, help="jsonl: a ladder's rows")
    parser.add_argument("--authors", nargs="+", default=["gpt4", "text_davinci_003"])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--max-length", type=int, default=2048)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["HF_DATASETS_CACHE"] = os.environ["CPT_CACHE"] = scratch
        model = Path(scratch) / "model"
        pairs = material.read(options.pairs, options.authors)
        material.make_tokenizer(pairs, 32_000, model)
        pairs = _varied(pairs, options.rows)
        context = multiprocessing.get_context("spawn")
        for name in ("cpt", "trl"):
            here, there = context.Pipe()
            arguments = (name, pairs, model, options.max_length, there)
            worker = context.Process(target=child, args=arguments)
            worker.start()
            cost = here.recv()
            worker.join()
            print(
                f"{name}: {len(pairs) / cost.wall:.0f} rows/s, {len(pairs) / cost.cpu:.0f} rows "
                f"a CPU second, {cost.tokens} answer tokens"
            )


def _varied(pairs: Sequence[Pair], rows: int) -> list[Pair]:
    """As many pairs as asked for, no two of the same text: nobody gains by remembering texts."""
    return [
        attrs.evolve(
            pair,
            id=f"{pair.id}#{time}",
            prompt=attrs.evolve(
                pair.prompt,
                id=f"{pair.prompt.id}#{time}",
                messages=(
                    attrs.evolve(
                        pair.prompt.messages[0],
                        content=f"{time}. {pair.prompt.messages[0].content}",
                    ),
                ),
            ),
            chosen=attrs.evolve(pair.chosen, text=f"{time}. {pair.chosen.text}"),
            rejected=attrs.evolve(pair.rejected, text=f"{time}. {pair.rejected.text}"),
        )
        for time in range(-(-rows // len(pairs)))
        for pair in pairs
    ][:rows]


if __name__ == "__main__":
    main()
