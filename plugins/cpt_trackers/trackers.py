"""The trackers that can be picked, a class each."""

from __future__ import annotations

import json
from typing import Any

import attrs

from cpt_trackers.tracker import Tracked, Tracker


@attrs.frozen
class TensorBoard(Tracker):
    """Writes the run's curves for TensorBoard, into its folder `tensorboard`.

    `tensorboard --logdir RUNS` shows them. Nothing leaves this machine.
    """

    name = "tensorboard"
    package = "tensorboard"

    def start(self, run: Tracked) -> Any:
        from accelerate.tracking import TensorBoardTracker

        # What a killed training wrote after its last checkpoint is hidden: it comes again.
        return TensorBoardTracker(".", run.folder / "tensorboard", purge_step=run.step)

    def describe(self, tracker: Any, run: Tracked) -> None:
        options = json.dumps(run.options, indent=1, default=str)
        tracker.writer.add_text("options", f"```json\n{options}\n```")


@attrs.frozen
class Trackio(Tracker):
    """Writes the run's curves for trackio, on this machine."""

    name = "trackio"
    package = "trackio"

    def start(self, run: Tracked) -> Any:
        from accelerate.tracking import TrackioTracker

        return TrackioTracker(run.project, name=f"{run.name} {run.key}", resume="allow")


@attrs.frozen
class Wandb(Tracker):
    """Sends the run's curves to Weights & Biases, or keeps them here (`WANDB_MODE=offline`)."""

    name = "wandb"
    package = "wandb"

    def start(self, run: Tracked) -> Any:
        from accelerate.tracking import WandBTracker

        how = {"id": run.key, "resume": "allow", "name": run.name, "dir": str(run.folder)}
        return WandBTracker(run.project, **how)


@attrs.frozen
class Mlflow(Tracker):
    """Sends the run's curves to MLflow: to `MLFLOW_TRACKING_URI`, or a file here."""

    name = "mlflow"
    package = "mlflow"

    def start(self, run: Tracked) -> Any:
        import mlflow
        from accelerate.tracking import MLflowTracker

        found = mlflow.search_runs(
            experiment_names=[run.project],
            filter_string=f"tags.cpt_run = '{run.key}'",
            output_format="list",
        )
        return MLflowTracker(
            experiment_name=run.project,
            run_id=found[0].info.run_id if found else None,
            run_name=run.name,
            tags={"cpt_run": run.key},
        )
