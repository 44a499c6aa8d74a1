"""What `cpt` does in the lab when it is told nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STUDENT = "transformers:lab:policy"
RUNGS = [f"transformers:lab:care/{rung}" for rung in ("strong", "middle", "weak")]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "lab": {
        "prompts": "lab:train",
        "eval_prompts": "lab:test",
        "model": "lab:policy",
        "pairer": "clair",
        "loss": "apo_zero",
        "train": {"learning_rate": 3e-4, "batch_size": 32, "epochs": 1},
        "evaluators": [{"name": "judged", "judge": "lab_checker"}],
        "controls": {
            "sft_strong": {
                "pairer": {"name": "ladder", "rungs": [RUNGS[0], RUNGS[-1]]},
                "loss": "sft",
            },
            "sft_chosen": {"loss": "sft"},
            "policy_cooled": {"temperature": 0.6},
        },
        "options": {
            "pairer": {
                "clair": {"student": STUDENT, "reviser": "lab_reviser"},
                "ladder": {"rungs": RUNGS},
                "rlaif": {"responder": STUDENT, "judge": "lab_checker"},
            },
        },
    }
}
