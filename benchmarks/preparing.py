"""Pairs prepared in a second, and in a CPU second, from text to token ids: this project and TRL.

    python benchmarks/preparing.py --pairs ladder.jsonl --rows 50000

In turns, each time in a process of its own, and compared with the first of `--who`. `bare` is only
the tokenizers library over the same texts, each prompt and each answer once, which is the least
that preparing can cost.
TRL caches what it prepared by content; a new folder for the cache makes it work each time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

import attrs
import material

from cpt.types import Pair

Ids = tuple[list[int], list[int], list[int]]
"""Of a prompt, of its chosen and of its rejected answer."""


@attrs.frozen
class Cost:
    """What it took to prepare all rows."""

    wall: float
    cpu: float
    memory: int
    """The most that the process held, MiB."""
    digest: str
    """Of all token ids."""


def ours(
    pairs: Sequence[Pair], model: Path, options: argparse.Namespace
) -> Callable[[], Iterable[Ids]]:
    from cpt.models import load_tokenizer
    from cpt.training.data.prepare import prepare
    from cpt.training.options import Training

    tokenizer = load_tokenizer(model)

    def work() -> Iterable[Ids]:
        corpus, _ = prepare(pairs, tokenizer, Training(max_length=options.max_length))
        return (
            (chosen.prompt.tolist(), chosen.answer.tolist(), rejected.answer.tolist())
            for chosen, rejected in (
                (corpus.sequences[chosen], corpus.sequences[rejected])
                for chosen, rejected in zip(corpus.chosen, corpus.rejected, strict=True)
            )
        )

    return work


def trl(
    pairs: Sequence[Pair], model: Path, options: argparse.Namespace
) -> Callable[[], Iterable[Ids]]:
    import datasets
    from transformers import AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(model)
    rows = datasets.Dataset.from_list(material.conversations(pairs))
    trainer = DPOTrainer.__new__(DPOTrainer)  # The step alone, without a model.
    trainer._tokenizer = tokenizer
    arguments = DPOConfig(
        output_dir=str(model),
        max_length=options.max_length,
        dataset_num_proc=options.processes,
        report_to=[],
        use_cpu=True,
    )

    def work() -> Iterable[Ids]:
        prepared = trainer._prepare_dataset(rows, tokenizer, arguments, "train")
        return ((row["prompt_ids"], row["chosen_ids"], row["rejected_ids"]) for row in prepared)

    return work


def bare(
    pairs: Sequence[Pair], model: Path, options: argparse.Namespace
) -> Callable[[], Iterable[Ids]]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    user, assistant = material.ROLES
    texts = [
        text
        for pair in pairs
        for text in (
            f"{user}{pair.prompt.messages[0].content}{assistant}",
            f"{pair.chosen.text}{material.END}",
            f"{pair.rejected.text}{material.END}",
        )
    ]

    def work() -> Iterable[Ids]:
        ids = [
            encoded.ids
            for start in range(0, len(texts), AT_ONCE)
            for encoded in tokenizer.encode_batch_fast(texts[start : start + AT_ONCE])
        ]
        return ((ids[at], ids[at + 1], ids[at + 2]) for at in range(0, len(ids), 3))

    return work


AT_ONCE = 384
"""Texts in a call of the bare tokenizer: with more, memory costs time too."""

PREPARING = {"trl": trl, "cpt": ours, "bare": bare}


def child(
    name: str, pairs: Sequence[Pair], model: Path, options: argparse.Namespace, end: Connection
) -> None:
    work = PREPARING[name](pairs, model, options)
    before, begun = _cpu(), time.perf_counter()
    rows = work()
    wall, cpu = time.perf_counter() - begun, _cpu() - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    digest = hashlib.blake2b(digest_size=8)
    for row in rows:
        digest.update(json.dumps(row).encode())
    end.send(Cost(wall, cpu, memory, digest.hexdigest()))


def _cpu() -> float:
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=Path, required=True, help="jsonl: a ladder's rows")
    parser.add_argument("--authors", nargs="+", default=["gpt4", "text_davinci_003"])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--max-length", type=int, default=2048)
    parser.add_argument("--processes", type=int, help="TRL's dataset_num_proc")
    parser.add_argument("--who", nargs="+", choices=PREPARING, default=list(PREPARING))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        model = Path(scratch) / "model"
        pairs = material.read(options.pairs, options.authors)
        material.make_tokenizer(pairs, 32_000, model)
        pairs = _varied(pairs, options.rows)
        costs: dict[str, list[Cost]] = {name: [] for name in options.who}
        for _ in range(options.rounds):
            for name in options.who:
                costs[name].append(_in_a_process(name, pairs, model, options))
    for name, taken in costs.items():
        print(_line(name, taken, options.who[0], costs[options.who[0]], len(pairs)))


def _in_a_process(
    name: str, pairs: Sequence[Pair], model: Path, options: argparse.Namespace
) -> Cost:
    os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(dir=model.parent)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    worker = context.Process(target=child, args=(name, pairs, model, options, there))
    worker.start()
    there.close()
    cost: Cost = here.recv()
    worker.join()
    return cost


def _line(name: str, costs: Sequence[Cost], first: str, others: Sequence[Cost], rows: int) -> str:
    wall, cpu = (median(getattr(cost, what) for cost in costs) for what in ("wall", "cpu"))
    by_wall, by_cpu = (
        median(
            getattr(other, what) / getattr(cost, what)
            for cost, other in zip(costs, others, strict=True)
        )
        for what in ("wall", "cpu")
    )
    alike = "the same" if costs[0].digest == others[0].digest else "OTHER"
    return (
        f"{name}: {rows / wall:.0f} rows/s ({by_wall:.2f} of {first}'s), "
        f"{rows / cpu:.0f} a CPU second ({by_cpu:.2f}), {costs[0].memory} MiB, {alike} ids"
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
