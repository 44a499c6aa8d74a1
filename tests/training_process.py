"""A training in a process of its own: `python training_process.py MODEL OUTPUT OPTIONS`.

Prints a line for each step, and kills itself after the step that `CPT_TEST_KILL` names.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import tiny
import torch

from cpt.training import train
from cpt.training.options import Training


def notify(moment: str, **facts: object) -> None:
    if moment == "cpt_step_ended":
        print("step", facts["step"], flush=True)
        if str(facts["step"]) == os.environ.get("CPT_TEST_KILL"):
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    torch.set_num_threads(1)
    model, output, options = sys.argv[1:]
    chosen = json.loads(options)
    loss = getattr(tiny, chosen.pop("loss", "Sigmoid"))()
    train(
        [*tiny.pairs(21), *tiny.ladder(3)],
        model=Path(model),
        scheduler=tiny.Mixed(),
        loss=loss,
        options=Training(**{"device": "cpu", "log_every": 1, **chosen}),
        seed=3,
        output=Path(output),
        notify=notify,
    )
