"""Contrastive post-training: from prompts to preference pairs to an aligned model."""

import sys

# As `python -m cpt`, the working directory comes first, where any `yaml.py` would be taken for the
# library: out with it before anything else is imported.
if not sys.flags.safe_path and sys.argv[:1] == ["-m"]:
    module = sys.orig_argv[len(sys.orig_argv) - len(sys.argv)]
    if module in ("cpt", "cpt.__main__") or (module.startswith("-") and module.endswith("mcpt")):
        del sys.path[0]

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cpt.errors import (
    AskError,
    CptError,
    Denied,
    Filtered,
    Malformed,
    NoPair,
    Overloaded,
    Rejected,
    Unreachable,
    WrongReturn,
)
from cpt.hookspecs import hookimpl
from cpt.roles import (
    NOT_IDENTITY,
    PATH,
    Ask,
    Choice,
    Component,
    Evaluation,
    Evaluator,
    Filter,
    Judge,
    Local,
    Loss,
    LossChoice,
    Observer,
    Pairer,
    Phase,
    PhasedScheduler,
    Responder,
    RunEvaluator,
    Scheduler,
    Service,
)
from cpt.types import (
    Batch,
    Comparison,
    Drop,
    Logps,
    Message,
    Missing,
    Outcome,
    Pair,
    PairLogps,
    Prompt,
    Response,
    Score,
    TokenLogps,
    ToolCall,
    Usage,
    Verdict,
)

__all__ = [
    "NOT_IDENTITY",
    "PATH",
    "Ask",
    "AskError",
    "Batch",
    "Choice",
    "Comparison",
    "Component",
    "CptError",
    "Denied",
    "Drop",
    "Evaluation",
    "Evaluator",
    "Filter",
    "Filtered",
    "Judge",
    "Local",
    "Logps",
    "Loss",
    "LossChoice",
    "Malformed",
    "Message",
    "Missing",
    "NoPair",
    "Observer",
    "Outcome",
    "Overloaded",
    "Pair",
    "PairLogps",
    "Pairer",
    "Phase",
    "PhasedScheduler",
    "Prompt",
    "Rejected",
    "Responder",
    "Response",
    "RunEvaluator",
    "Scheduler",
    "Score",
    "Service",
    "TokenLogps",
    "ToolCall",
    "Unreachable",
    "Usage",
    "Verdict",
    "WrongReturn",
    "hookimpl",
    "open_run",
    "read_pairs",
    "read_prompts",
]

if TYPE_CHECKING:
    from cpt.data import read_pairs, read_prompts
    from cpt.run.results.read import open_run

READERS = {"open_run": "cpt.run.results.read", "read_pairs": "cpt.data", "read_prompts": "cpt.data"}
"""Functions that are imported when they are first used: `import cpt` stays fast."""


def __getattr__(name: str) -> Any:
    if name not in READERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(READERS[name]), name)
