"""Two models' answers judged against each other, and what the judgements say."""

from cpt.matches.figures import Control, Figures, figures
from cpt.matches.orders import Match, both_orders, compared, judged

__all__ = ["Control", "Figures", "Match", "both_orders", "compared", "figures", "judged"]
