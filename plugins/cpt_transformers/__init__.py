"""A model on this machine, run with transformers."""

import sys
from collections.abc import Mapping

import cpt


@cpt.hookimpl
def cpt_responders() -> dict[str, str]:
    return {"transformers": "cpt_transformers.responder:Transformers"}


@cpt.hookimpl
def cpt_stage_ended() -> None:
    _let_go()  # the next stage may train


@cpt.hookimpl
def cpt_metrics_logged(metrics: Mapping[str, float]) -> None:
    if any(name.startswith("eval/") for name in metrics):
        _let_go()  # of a copy of the model that is trained


def _let_go() -> None:
    if generation := sys.modules.get("cpt_transformers.generation"):
        generation.let_go()
