"""What `cpt` does in the lab by default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SFT = {"name": "sft", "over": "sum"}
"""Likelihood as it is: a mean over tokens would favour short answers, here those without a flaw."""
SFT_TRAIN = {"learning_rate": 1e-3}
"""The best of 1e-4, 3e-4 and 1e-3 on `lab:dev`, where 3e-4 was best for `apo_zero` and `dpo`."""


def _model(name: str) -> dict[str, Any]:
    """A model of the lab as a responder; no answer in the lab has 48 tokens."""
    return {"name": "transformers", "model": name, "max_tokens": 48}


def _preset(size: str) -> Mapping[str, Any]:
    student = _model(f"lab:{size}policy")
    rungs = [_model(f"lab:{size}care/{rung}") for rung in ("strong", "middle", "weak")]
    all_of_strong = {"name": "ladder", "rungs": [rungs[0], "lab_ignorant"]}
    return {
        "prompts": f"lab:{size}train",
        "eval_prompts": f"lab:{size}test",
        "model": f"lab:{size}policy",
        "pairer": "clair",
        "loss": "apo_zero",
        "train": {"learning_rate": 3e-4, "batch_size": 32, "epochs": 1},
        "generator": _model("model"),
        "evaluators": [{"name": "judged", "judge": "lab_checker"}],
        "controls": {
            "sft_strong": {
                "pairer": all_of_strong,
                "scheduler": "shuffle",
                "loss": SFT,
                "train": SFT_TRAIN,
            },
            "sft_chosen": {"loss": SFT, "train": SFT_TRAIN},
            "policy_cooled": {"temperature": 0.6},
        },
        "options": {
            "pairer": {
                "clair": {"student": student, "reviser": "lab_reviser"},
                "ladder": {"rungs": rungs},
                "rlaif": {"responder": student, "judge": "lab_checker"},
                "judged": {"responders": rungs, "judge": "lab_checker"},
                "best_of_n": {"responder": student, "judge": "lab_checker"},
                "stronger": {"stronger": rungs[0], "student": student},
            },
        },
    }


PRESETS: Mapping[str, Mapping[str, Any]] = {"lab": _preset(""), "lab_tiny": _preset("tiny/")}
