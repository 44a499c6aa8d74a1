"""The records that flow through a run, and the batch that a loss sees."""

from cpt.types.batch import Batch, Logps, TokenLogps
from cpt.types.messages import Message, ToolCall
from cpt.types.outcome import Outcome
from cpt.types.pairs import Comparison, Drop, Missing, Pair, PairLogps, Score, Verdict
from cpt.types.responses import Prompt, Response, Usage

__all__ = [
    "Batch",
    "Comparison",
    "Drop",
    "Logps",
    "Message",
    "Missing",
    "Outcome",
    "Pair",
    "PairLogps",
    "Prompt",
    "Response",
    "Score",
    "TokenLogps",
    "ToolCall",
    "Usage",
    "Verdict",
]
