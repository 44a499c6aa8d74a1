"""What `cpt` does in the lab when it is told nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def _model(name: str) -> dict[str, Any]:
    """A model of the lab as a responder; no answer in the lab has 48 tokens."""
    return {"name": "transformers", "model": name, "max_tokens": 48}


STUDENT = _model("lab:policy")
RUNGS = [_model(f"lab:care/{rung}") for rung in ("strong", "middle", "weak")]

SFT = {"name": "sft", "over": "sum"}
"""Likelihood as it is: a mean over tokens would favour short answers, here those without a flaw."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "lab": {
        "prompts": "lab:train",
        "eval_prompts": "lab:test",
        "model": "lab:policy",
        "pairer": "clair",
        "loss": "apo_zero",
        "train": {"learning_rate": 3e-4, "batch_size": 32, "epochs": 1},
        "generator": _model("model"),
        "evaluators": [{"name": "judged", "judge": "lab_checker"}],
        "controls": {
            "sft_strong": {
                "pairer": {"name": "ladder", "rungs": [RUNGS[0], "lab_ignorant"]},
                "loss": SFT,
            },
            "sft_chosen": {"loss": SFT},
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
