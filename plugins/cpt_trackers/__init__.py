"""Training curves and scores in a tracker that was asked for by name, through accelerate."""

import cpt


@cpt.hookimpl
def cpt_observers() -> dict[str, str]:
    return {
        "mlflow": "cpt_trackers.trackers:Mlflow",
        "tensorboard": "cpt_trackers.trackers:TensorBoard",
        "trackio": "cpt_trackers.trackers:Trackio",
        "wandb": "cpt_trackers.trackers:Wandb",
    }
