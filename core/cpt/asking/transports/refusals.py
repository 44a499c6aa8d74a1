"""Rejections before the first answer: are the prompts at fault, or all that is asked?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import attrs

from cpt.errors import AskError, Denied, Filtered, Rejected
from cpt.service.http.errors import TOO_LONG

FEWEST = 2
"""Rejections alike that are enough where their words are those of an option or the server."""
_CHANGING = re.compile(r"\b(req|chatcmpl|msg)\w*|[0-9a-f]{6,}|\d+")
"""What differs between messages that are the same."""


@attrs.define(eq=False)
class Refusals:
    """The rejections of one endpoint that has answered nothing."""

    most: int
    """So many alike, and nothing else, stop a run; 0 never does."""
    alike: Counter[str] = attrs.field(factory=Counter)

    def add(self, error: Rejected) -> str:
        """Count one; why the run has to stop, or nothing."""
        if not self.most or isinstance(error, Filtered) or TOO_LONG.search(str(error).lower()):
            return ""
        self.alike[_CHANGING.sub("#", str(error).lower())] += 1
        count = self.alike.total()
        enough = count >= (min(FEWEST, self.most) if error.of_all else self.most)
        if not enough or len(self.alike) > 1:
            return ""
        return (
            f"the first {count} requests were all rejected ({error}). Fix what it names and run "
            "again: they are asked again. If it is the prompts, --asking.stop-after-rejected 0 "
            "continues"
        )


def refusal_of_all(errors: Iterable[AskError], most: int) -> Denied | None:
    """The error of a batch that brought no answer, if all of it was refused in the same way."""
    refusals = Refusals(most)
    why = ""
    for error in errors:
        if not isinstance(error, Rejected):
            return None
        why = refusals.add(error)
    return Denied(why) if why else None
