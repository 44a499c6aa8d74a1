"""The pipeline: which stages there are, and which of them a command does."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import attrs

from cpt.config import Config, ControlConfig, training_of
from cpt.errors import CptError
from cpt.roles import Loss
from cpt.run import rounds
from cpt.run.events import Events
from cpt.run.execute import check_all_unchanged, execute, inputs_of
from cpt.run.record.folder import Folder
from cpt.run.record.inputs import (
    content_digest,
    digest_of_plain,
    identity,
    known,
    source_digest,
)
from cpt.run.stage import Run, Stage, Summary, is_main, require_option
from cpt.run.stages import evaluation, pairing, training
from cpt.run.stages.holdout import HELD_OUT, with_holdout
from cpt.run.stages.taking import TAKEN

log = logging.getLogger("cpt")


def _digests(run: Run, *files: str) -> dict[str, str | None]:
    """A digest of each of these files and models of the folder, None if it is not there."""
    return {name: content_digest(str(run.path / name)) for name in files}


def pair(run: Run) -> None:
    """Prompts to pairs."""
    execute(_pair_stages(run.config), run)


def train(run: Run) -> None:
    """Pairs to a model; the pairs are those of the folder, or given."""
    run = with_holdout(run)
    if run.config.pairs:
        execute([GIVEN_PAIRS, MODEL], run)
    elif run.folder.is_done("pairs"):
        _refuse_stale(
            PAIRS,
            run,
            "prompts.parquet",
            "these pairs are of other prompts than the folder's; `cpt pair`",
        )
        _refuse_other_filters(run)
        execute([MODEL], run)
    else:
        raise CptError(f"{run.path}: no pairs yet; run `cpt pair` first, or give --pairs.")
    _drop_stale_scores(run)


def _drop_stale_scores(run: Run) -> None:
    """Remove scores of another model than the one that is in the folder now."""
    current = {"content": known(_digests(run, "model/"))}
    if is_main() and run.folder.differences(SCORES.name, current):
        log.warning("the scores were of another model and are gone; `cpt eval` measures this one")
        run.folder.undo(SCORES.name, SCORES.outputs)


def evaluate(run: Run) -> None:
    """A trained model, and its controls, to scores."""
    if not run.folder.is_done("model"):
        raise CptError(f"{run.path}: no model yet; run `cpt train` first.")
    _refuse_stale(
        MODEL, run, "pairs.parquet", "this model is of other pairs than the folder's; `cpt train`"
    )
    if not run.config.evaluators:
        raise CptError("--evaluators must be given: what should be measured?")
    execute([CONTROLS, SCORES], run)


def run_all(run: Run) -> None:
    """Every stage, or every round with all of them."""
    if run.config.rounds > 1:
        execute([ROUNDS], run)
        return
    run = with_holdout(run)
    execute([*_pair_stages(run.config), MODEL, CONTROLS, SCORES], run)


def _refuse_stale(stage: Stage, run: Run, file: str, why: str) -> None:
    """Raise `CptError` if a stage was made from another file than the folder now holds."""
    if run.folder.differences(stage.name, {"content": known(_digests(run, file))}):
        raise CptError(f"{run.path}: {why} --redo makes it again.")


def _refuse_other_filters(run: Run) -> None:
    """Raise `CptError` if the folder's pairs went through other filters than those of this run."""
    recorded = run.folder.stage("pairs")["options"]
    current = recorded | {"filters": PAIRS.inputs(run)["options"]["filters"]}
    if changed := run.folder.differences("pairs", {"options": current}):
        raise CptError(
            f"{run.path}: its pairs were made with {'; '.join(changed)}; `cpt pair --redo` makes "
            "them again, and asks nothing again."
        )


def _pair_stages(config: Config) -> list[Stage]:
    return [GIVEN_PAIRS] if config.pairs else [PROMPTS, PAIRS]


def _train_controls(run: Run) -> Summary:
    """Stage `controls`: each a run of its own, in a folder of its own."""
    for stages, control_run in _control_runs(run):
        execute(stages, control_run)
    return {"controls": len(run.config.controls)}


def _check_controls(run: Run) -> None:
    for stages, control_run in _control_runs(run):
        check_all_unchanged(stages, control_run, inputs_of(stages, control_run))


def _control_runs(run: Run) -> Iterator[tuple[Sequence[Stage], Run]]:
    """Each control that is trained, as stages and the run that does them."""
    for name, control in run.config.controls.items():
        if control.loss:
            control_run = _control_run(run, name, control, control.loss)
            yield [*_pair_stages(control_run.config), MODEL], control_run


def _control_run(run: Run, name: str, control: ControlConfig, loss: Loss) -> Run:
    config = attrs.evolve(
        run.config,
        pairs=None if control.pairer else str(run.path / "pairs.parquet"),
        pairer=control.pairer,
        filters=run.config.filters if control.pairer else (),
        scheduler=control.scheduler or run.config.scheduler,
        loss=loss,
        train=training_of(run.config, name, run.registry),
        controls={},
        evaluators=(),
    )
    folder = Folder(evaluation.control_path(run.path, name))
    events = Events(run.events.plugins, folder.path, name)
    return attrs.evolve(run, config=config, folder=folder, events=events)


def _do_rounds(run: Run) -> Summary:
    """Stage `rounds`: each a run of its own, in a folder of its own."""
    for number in range(1, run.config.rounds + 1):
        run_all(rounds.round_run(run, number))
    return rounds.conclude(run)


def _references(run: Run) -> dict[str, str | None]:
    """A digest of the reference model of each control that names its own."""
    return {
        f"controls.{name}.train.reference": content_digest(control.train["reference"])
        for name, control in run.config.controls.items()
        if control.train.get("reference")
    }


def _measured(run: Run) -> dict[str, str | None]:
    """A digest of each model that was trained, and of the options of the controls."""
    controls = run.config.controls.items()
    trained = [f"controls/{name}/model/" for name, control in controls if control.loss]
    return {
        **_digests(run, "model/", *trained, HELD_OUT),
        "controls": digest_of_plain(run.folder.stage("controls").get("options")),
    }


def _watched(run: Run) -> dict[str, str | None]:
    """Digests of what a training is measured on as it goes, if it is."""
    return {**_watched_pairs(run), **_asked(run)}


def _watched_pairs(run: Run) -> dict[str, str | None]:
    source = run.config.eval_pairs
    needed = training.watches(run) or evaluation.needs(training.as_asked(run), "pairs")
    return {"eval_pairs": source_digest(source, "pairs")} if needed and source else {}


def _asked(run: Run) -> dict[str, str | None]:
    """Of the prompts that it is asked as it is trained, and of how it answers."""
    asked, source = training.as_asked(run), run.config.eval_prompts
    if not asked.config.evaluators:
        return {}
    how = [asked.config.eval_limit or asked.config.limit, identity(asked.config.generator)]
    prompts = source_digest(source, "prompts") if source else None
    return {"eval_prompts": prompts, "generator": digest_of_plain(how)}


PROMPTS = Stage(
    name="prompts",
    title="reading the prompts",
    options=("prompts", "limit"),
    sources={"prompts": "prompts"},
    ready=lambda run: require_option(run, "prompts"),
    work=pairing.import_prompts,
    outputs=("prompts.parquet",),
)
PAIRS = Stage(
    name="pairs",
    title="making the pairs",
    options=("pairer", "filters"),
    upstream=lambda run: _digests(run, "prompts.parquet"),
    ready=lambda run: require_option(run, "pairer"),
    work=pairing.make_pairs,
    outputs=("pairs.parquet", "outcomes.jsonl", "README.md"),
)
GIVEN_PAIRS = Stage(
    name="pairs",
    title="making the pairs",
    options=("pairs", "filters"),
    sources={"pairs": "pairs"},
    work=pairing.import_pairs,
    outputs=("pairs.parquet", "outcomes.jsonl", "README.md"),
)
MODEL = Stage(
    name="model",
    title="training",
    options=("model", "loss", "scheduler", "train", "seed", "holdout"),
    upstream=lambda run: {**_digests(run, "pairs.parquet"), **_watched(run)},
    ready=training.ready,
    work=training.train,
    outputs=(
        *("model", "checkpoints", "training.json"),
        *("metrics.jsonl", "order.parquet", "doctor.json", HELD_OUT, "best", TAKEN),
    ),
    leftovers=("checkpoints", "model", TAKEN),
    collective=True,
)
CONTROLS = Stage(
    name="controls",
    title="training the controls",
    options=("controls",),
    upstream=_references,
    ready=_check_controls,
    work=_train_controls,
    collective=True,
    has_runs=True,
)
SCORES = Stage(
    name="scores",
    title="measuring",
    options=("eval_prompts", "eval_pairs", "eval_limit", "limit", "evaluators", "generator"),
    sources={"eval_prompts": "prompts", "eval_pairs": "pairs"},
    upstream=_measured,
    ready=evaluation.ready,
    work=evaluation.evaluate,
    outputs=("scores.json",),
    unchecked=frozenset({"generator"}),
)
_PARTS = (PROMPTS, PAIRS, MODEL, CONTROLS, SCORES)
ROUNDS = Stage(
    name="rounds",
    title="the rounds",
    options=(
        *("rounds", "round_reference", "round_prompts"),
        *dict.fromkeys(name for stage in _PARTS for name in stage.options),
    ),
    sources={**PROMPTS.sources, **SCORES.sources},
    ready=rounds.check,
    work=_do_rounds,
    outputs=("scores.json",),
    unchecked=SCORES.unchecked,
    collective=True,
    has_runs=True,
)

STAGES = (PROMPTS, PAIRS, GIVEN_PAIRS, MODEL, CONTROLS, SCORES, ROUNDS)
"""Every stage, in order; `GIVEN_PAIRS` (`--pairs`) replaces the first two."""
