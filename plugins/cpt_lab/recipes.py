"""How each thing that the lab offers is made; what is made once is kept."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from cpt.files import write_text
from cpt_lab.settings import CARE, PROMPTS, SKILL, Settings, parse
from cpt_lab.world import Split, ask, draw, write

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

RATES = {"pretraining": 3e-3, "tuning": 1e-3}
"""Learning rates."""


def make(rest: str) -> Path:
    """What `lab:REST` names, made if it is not there yet. Raises `CptError`."""
    return bring(*parse(rest))


def bring(settings: Settings, name: str) -> Path:
    """The path of a set of prompts or a model, made if it is not there yet.

    Two processes that want the same thing make it once; one that dies leaves nothing half-made.
    """
    from filelock import FileLock

    unit, path = _place(settings, name)
    if not path.exists():
        unit.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(unit.with_name(f".{unit.name}.lock")):
            if not path.exists():
                _fill(settings, unit)
    return path


def _place(settings: Settings, name: str) -> tuple[Path, Path]:
    """The file or folder that is made as one, and the part of it that is meant."""
    root = settings.folder
    if name in PROMPTS:
        return root / f"{name}.jsonl", root / f"{name}.jsonl"
    path = root / ("skill/strong" if name == "base" else name)
    return (path.parent if path.parent.name == "skill" else path), path


def _fill(settings: Settings, unit: Path) -> None:
    if unit.suffix == ".jsonl":
        write_text(unit, "".join(_prompts(settings, unit.stem)))  # type: ignore[arg-type]
        return
    name = unit.relative_to(settings.folder)
    click.echo(f"lab: training {name} (once; it is kept in {settings.folder})", err=True)
    draft = unit.with_name(f".{unit.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    if unit.name == "skill":
        _pretrain(settings, draft)
    elif unit.name == "policy":
        _imitate(settings, draft)
    else:
        _grow_careless(settings, CARE[unit.name], draft)
    draft.rename(unit)


def _prompts(settings: Settings, split: Split) -> Iterator[str]:
    """Lines of distinct prompts, each with its family and an answer that is right."""
    random = Random(f"prompts {split} {settings.seed}")
    asked = dict(
        (ask(task, random), task) for task in islice(draw(split, random), 2 * settings.prompts)
    )
    for number, (prompt, task) in enumerate(islice(asked.items(), settings.prompts)):
        row = {
            "id": f"{split}-{number}",
            "prompt": prompt,
            "family": task.family.name,
            "right": random.choice(task.right_answers),
        }
        yield json.dumps(row) + "\n"


def _pretrain(settings: Settings, folder: Path) -> None:
    """One run over good answers; the skill rungs are what it was on the way."""
    from cpt_lab.fitting import BATCH, encode, fit, new_model
    from cpt_lab.tokenizer import make_tokenizer

    tokenizer = make_tokenizer()
    model = new_model(settings, tokenizer)
    rows = encode(tokenizer, _study(settings, "pretraining", settings.pretraining))
    steps = len(rows) // BATCH
    milestones = {
        int(share * steps): partial(_save, model, tokenizer, folder / rung)
        for rung, share in SKILL.items()
    }
    fit(model, rows, RATES["pretraining"], settings.seed, milestones)


def _grow_careless(settings: Settings, flaws: float, folder: Path) -> None:
    """The base model, tuned on answers of writers who are careless so often."""
    texts = _study(settings, f"care {flaws}", settings.tuning, flaws)
    _tune(settings, texts, folder)


def _imitate(settings: Settings, folder: Path) -> None:
    """The base model, tuned on what the strong care rung answers: imitation has given its all."""
    from cpt_lab.fitting import sample

    strong, tokenizer = _load(bring(settings, "care/strong"))
    prompts = [prompt for prompt, _ in _study(settings, "policy", settings.tuning)]
    answers = sample(strong, tokenizer, prompts, settings.seed)
    _tune(settings, list(zip(prompts, answers, strict=True)), folder)


def _tune(settings: Settings, texts: list[tuple[str, str]], folder: Path) -> None:
    from cpt_lab.fitting import encode, fit

    model, tokenizer = _load(bring(settings, "base"))
    fit(model, encode(tokenizer, texts), RATES["tuning"], settings.seed)
    _save(model, tokenizer, folder)


def _study(
    settings: Settings, purpose: str, count: int, flaws: float = 0.0
) -> list[tuple[str, str]]:
    """Prompts and answers to learn from, none of them in a held-out set."""
    random = Random(f"{purpose} {settings.seed}")
    tasks = islice(draw("study", random), count)
    return [(ask(task, random), write(task, random, flaws)) for task in tasks]


def _load(folder: Path) -> tuple[Any, PreTrainedTokenizerFast]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _quiet():
        return AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


def _save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    with _quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without a progress bar for what takes a moment."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
