"""Two models' answers judged against each other, and what the judgements say."""

from cpt.judging.figures import Control, Figures, figures
from cpt.judging.matches import Match, both_orders, judged

__all__ = ["Control", "Figures", "Match", "both_orders", "figures", "judged"]
