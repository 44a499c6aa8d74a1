"""Hard pairs by a judge, without answers that repeat themselves."""

import cpt


@cpt.hookimpl
def cpt_pairers() -> dict[str, str]:
    """Offer the pairer."""
    return {"near_miss": "cpt_near_miss.pairer:NearMiss"}


@cpt.hookimpl
def cpt_filters() -> dict[str, str]:
    """Offer the filter."""
    return {"no_loops": "cpt_near_miss.loops:NoLoops"}
