"""The whole road: which stages there are, and which of them a command walks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from cpt.config import Config, Control, training_of
from cpt.errors import CptError
from cpt.roles import Loss
from cpt.run.events import Events
from cpt.run.record.folder import Folder
from cpt.run.record.inputs import content_of, digest_of_plain, known
from cpt.run.stages import Run, Stage, Summary, is_main, needed, perform, refuse_other
from cpt.run.steps import evaluation, pairing, training


def _content(run: Run, *files: str) -> dict[str, str | None]:
    """A digest of each of these files and models of the folder, where it is there."""
    return {each: content_of(str(run.path / each)) for each in files}


PROMPTS = Stage(
    "prompts",
    ("prompts", "limit"),
    {"prompts": "prompts"},
    pairing.read_in,
    ready=lambda run: needed(run, "prompts"),
    outputs=("prompts.parquet",),
)
PAIRS = Stage(
    "pairs",
    ("pairer",),
    {},
    pairing.make,
    inputs=lambda run: _content(run, "prompts.parquet"),
    ready=lambda run: needed(run, "pairer"),
    outputs=("pairs.parquet", "outcomes.jsonl"),
)
TAKEN_PAIRS = Stage(
    "pairs",
    ("pairs",),
    {"pairs": "pairs"},
    pairing.make,
    outputs=("pairs.parquet", "outcomes.jsonl"),
)
MODEL = Stage(
    "model",
    ("model", "scheduler", "loss", "train", "seed"),
    {},
    training.train,
    inputs=lambda run: _content(run, "pairs.parquet"),
    ready=training.ready,
    outputs=(
        *("model", "checkpoints", "training.json"),
        *("metrics.jsonl", "order.parquet", "doctor.json"),
    ),
    leftovers=("checkpoints", "model"),
    collective=True,
)


def pair(run: Run) -> None:
    """Prompts to pairs."""
    _perform(_to_pairs(run.config), run)


def train(run: Run) -> None:
    """Pairs to a model; the pairs are those of the folder, or given."""
    if run.config.pairs:
        _perform([TAKEN_PAIRS, MODEL], run)
    elif run.folder.is_done("pairs"):
        _refuse_stale(PAIRS, run, "these pairs are of other prompts than the folder's; `cpt pair`")
        _perform([MODEL], run)
    else:
        raise CptError(f"{run.path}: no pairs yet; run `cpt pair` first, or give --pairs.")


def evaluate(run: Run) -> None:
    """A trained model, and its controls, to scores."""
    if not run.folder.is_done("model"):
        raise CptError(f"{run.path}: no model yet; run `cpt train` first.")
    _refuse_stale(MODEL, run, "this model is of other pairs than the folder's; `cpt train`")
    if not run.config.evaluators:
        raise CptError("--evaluators must be given: what should be measured?")
    _perform([CONTROLS, SCORES], run)


def walk(run: Run) -> None:
    """Every stage."""
    _perform([*_to_pairs(run.config), MODEL, CONTROLS, SCORES], run)


def _perform(stages: Sequence[Stage], run: Run) -> None:
    if is_main():
        for stage in (PAIRS, MODEL, SCORES):
            run.folder.adopt(stage.name, known(stage.inputs(run)))
    perform(stages, run)


def _refuse_stale(stage: Stage, run: Run, why: str) -> None:
    """Raise `CptError` if a stage stands on something that is no longer in the folder."""
    if run.folder.differences(stage.name, {"content": known(stage.inputs(run))}):
        raise CptError(f"{run.path}: {why} --redo makes it anew.")


def _to_pairs(config: Config) -> list[Stage]:
    return [TAKEN_PAIRS] if config.pairs else [PROMPTS, PAIRS]


def _controls(run: Run) -> Summary:
    """Stage `controls`: each a run of its own, in a folder of its own."""
    for stages, own in _control_runs(run):
        _perform(stages, own)
    return {"controls": len(run.config.controls)}


def _refuse_other_controls(run: Run) -> None:
    for stages, own in _control_runs(run):
        refuse_other(stages, own)


def _control_runs(run: Run) -> Iterator[tuple[list[Stage], Run]]:
    """Each control that is trained, as stages and the run that walks them."""
    for name, control in run.config.controls.items():
        if control.loss:
            own = _control_run(run, name, control, control.loss)
            yield [*_to_pairs(own.config), MODEL], own


def _control_run(run: Run, name: str, control: Control, loss: Loss) -> Run:
    config = attrs.evolve(
        run.config,
        pairs=None if control.pairer else str(run.path / "pairs.parquet"),
        pairer=control.pairer,
        scheduler=control.scheduler or run.config.scheduler,
        loss=loss,
        train=training_of(run.config, name, run.registry),
        controls={},
        evaluators=(),
    )
    folder = Folder(evaluation.control_path(run.path, name))
    events = Events(run.events.plugins, folder.path)
    return attrs.evolve(run, config=config, folder=folder, events=events)


def _measured(run: Run) -> dict[str, str | None]:
    """A digest of each model that was trained, and of what the controls were made from."""
    trained = [f"controls/{name}/model/" for name, each in run.config.controls.items() if each.loss]
    return {
        **_content(run, "model/", *trained),
        "controls": digest_of_plain(run.folder.stage("controls").get("options")),
    }


CONTROLS = Stage(
    "controls",
    ("controls",),
    {},
    _controls,
    ready=_refuse_other_controls,
    collective=True,
    nested=True,
)
SCORES = Stage(
    "scores",
    ("evaluators", "eval_prompts", "eval_limit", "generator", "limit"),
    {"eval_prompts": "prompts"},
    evaluation.evaluate,
    inputs=_measured,
    ready=evaluation.ready,
    outputs=("scores.json",),
    unchecked=frozenset({"generator"}),
)
