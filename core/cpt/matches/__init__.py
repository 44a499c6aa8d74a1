"""Two models' answers judged against each other, and what the judgements say."""

from cpt.matches.advice import Advice, advice_of, advise, chosen_against_own
from cpt.matches.figures import Control, Figures, figures
from cpt.matches.orders import Match, both_orders, compared, judged

__all__ = [
    "Advice",
    "Control",
    "Figures",
    "Match",
    "advice_of",
    "advise",
    "both_orders",
    "chosen_against_own",
    "compared",
    "figures",
    "judged",
]
