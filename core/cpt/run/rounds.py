"""Rounds: answer, pair, train and measure, again and again, each with the model of the one before.

Every round is a run of its own in `DIR/rounds/N`; all of them share one journal.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import islice
from typing import Any

import attrs

from cpt import paths
from cpt.config import AFTER, BEFORE, Config
from cpt.data import read_prompts, write_prompts
from cpt.errors import CptError
from cpt.roles import Component, Responder
from cpt.run.events import Events
from cpt.run.execute import POLL
from cpt.run.record.folder import Folder
from cpt.run.record.rounds import path_of
from cpt.run.results.scores import ROUND, Scores, read_meanings, read_scores, write_scores
from cpt.run.stage import Run, Summary, is_main, require_option


def check(run: Run) -> None:
    """Raise `CptError` if every round would make the same pairs."""
    model, pairer = require_option(run, "model"), require_option(run, "pairer")
    if run.config.pairs:
        raise CptError("--rounds: the pairs of a round are made by its model; leave out --pairs.")
    if _speaking_as(pairer, model, "another model") == pairer:
        raise CptError(
            f"--rounds {run.config.rounds}: no responder of the pairer {pairer.name!r} answers "
            f"with the model to be trained ({model}), so all rounds would have the same pairs; "
            "name that model in one of them."
        )


def round_run(run: Run, number: int) -> Run:
    """The run of one round, from 1; its model is that of the round before."""
    folder = Folder(path_of(run.path, number))
    return attrs.evolve(
        run,
        config=_config(run, number),
        folder=folder,
        events=Events(run.events.plugins, folder.path, run.events.control),
        shared_journal=run.journal,
    )


def conclude(run: Run) -> Summary:
    """Write `scores.json`: the model before the first round and after each of them."""
    count = run.config.rounds
    found = {
        number: read_scores(path_of(run.path, number) / "scores.json") for number in _numbers(run)
    }
    between = {f"{ROUND}{number}": found[number].get(AFTER, {}) for number in range(1, count)}
    scores: Scores = {
        BEFORE: found[1].get(BEFORE, {}),
        **between,
        AFTER: found[count].get(AFTER, {}),
        **{name: named for name, named in found[1].items() if name not in (BEFORE, AFTER)},
    }
    if is_main() and any(scores.values()):
        meanings = read_meanings(path_of(run.path, 1) / "scores.json")
        write_scores(run.path / "scores.json", scores, meanings)
    return {"rounds": count, "model": str(path_of(run.path, count) / "model")}


def _numbers(run: Run) -> range:
    return range(1, run.config.rounds + 1)


def _config(run: Run, number: int) -> Config:
    config = run.config
    asked = attrs.evolve(
        config,
        rounds=1,
        prompts=_prompts(run, number),
        limit=config.limit if config.round_prompts == "all" else None,
        eval_limit=config.eval_limit or config.limit,
        seed=(config.seed + number - 1) % 2**32,
    )
    return asked if number == 1 else _after_a_round(run, asked, number)


def _after_a_round(run: Run, config: Config, number: int) -> Config:
    """The same with the model of the round before, and without the controls of the first."""
    model = str(path_of(run.path, number - 1) / "model")
    first = config.train.reference or paths.resolve(require_option(run, "model"))
    reference = first if config.round_reference == "fixed" else None
    return attrs.evolve(
        config,
        model=model,
        pairer=_speaking_as(config.pairer, config.model, model),
        train=attrs.evolve(config.train, reference=reference),
        controls={},
    )


def _prompts(run: Run, number: int) -> str:
    """All prompts, or the part of them that is this round's: every N-th."""
    source: str = require_option(run, "prompts")
    if run.config.round_prompts == "all":
        return source
    part = path_of(run.path, number).with_name(f"prompts-{number}-of-{run.config.rounds}.parquet")
    if is_main():
        prompts = islice(read_prompts(source), run.config.limit)
        write_prompts(part, islice(prompts, number - 1, None, run.config.rounds))
    while not part.exists():
        time.sleep(POLL)
    return str(part)


def _speaking_as(value: Any, student: str | None, model: str) -> Any:
    """A component in which each responder that answers with `student` answers with `model`."""
    if isinstance(value, Responder) and value.model == student:
        return value.with_options(model=model)
    if isinstance(value, Component):
        fields = (field for field in attrs.fields(type(value)) if field.init)
        changed = {
            field.alias: _speaking_as(getattr(value, field.name), student, model)
            for field in fields
        }
        return attrs.evolve(value, **changed)
    if isinstance(value, tuple):
        return tuple(_speaking_as(inner, student, model) for inner in value)
    if isinstance(value, Mapping):
        return {name: _speaking_as(inner, student, model) for name, inner in value.items()}
    return value
