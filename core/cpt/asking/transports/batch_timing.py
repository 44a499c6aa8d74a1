"""How batches are timed."""

from __future__ import annotations

import logging

import attrs

from cpt.errors import AskError, Overloaded

log = logging.getLogger("cpt")


@attrs.frozen(kw_only=True)
class Timing:
    """Seconds between the steps of a batch."""

    quiet: float = 1.0
    """Seconds without a new request until those that wait are sent."""
    poll: float = 30.0
    """Seconds between two looks at a batch."""

    def after(self, error: AskError, number: int) -> float:
        """Seconds until the provider is asked again after an error: a `Wait` of `retried`."""
        log.warning("%s; asking again", error)
        asked = error.retry_after if isinstance(error, Overloaded) else None
        return max(self.poll, asked or 0.0)
