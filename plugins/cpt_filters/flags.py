"""What people said of pairs when they looked at them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import attrs

import cpt

if TYPE_CHECKING:
    from cpt.data import Row

DROP, SWAP, KEEP = "drop", "swap", "keep"
UNFLAGGED = "unflagged"
WORDS = (DROP, SWAP, KEEP)


@attrs.frozen
class Flag:
    """What a person decided of one pair."""

    word: str
    note: str = ""


@attrs.frozen
class Flags(cpt.Filter):
    """Does what people flagged: leaves a pair out, exchanges its sides, or keeps it.

    The report of a run exports such a file: rows with `pair_id`, `flag` (`drop`, `swap` or `keep`)
    and `note`. The last flag of a pair counts; pairs without one are kept, unless `flagged_only`.
    """

    name = "flags"
    file: str = attrs.field(metadata=cpt.PATH)
    """The flags: JSON Lines, a list in JSON, CSV or Parquet."""
    flagged_only: bool = False
    """Leave out pairs that nobody flagged: what stays are labels of people, to judge a judge by."""

    def check(self) -> None:
        self._flags()

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        flags = self._flags()
        unmet, without = set(flags), Flag(UNFLAGGED if self.flagged_only else KEEP)
        for pair in pairs:
            unmet.discard(pair.id)
            yield _decided(pair, flags.get(pair.id, without))
        if unmet:
            _warn(self.file, len(unmet), len(flags), min(unmet))

    def _flags(self) -> Mapping[str, Flag]:
        """Every flag by the id of its pair. Raises `BadData` for a row that is none."""
        from cpt.data import read_rows

        if not self.file.strip():
            raise cpt.CptError("filters: flags of which file? Write flags:FILE.")
        return dict(_flag(row) for row in read_rows(self.file))


def _warn(file: str, unmet: int, all_: int, example: str) -> None:
    import logging  # slow to import

    logging.getLogger("cpt").warning(
        "%s: %d of %d flags are of pairs that are not here, such as %r.", file, unmet, all_, example
    )


def _flag(row: Row) -> tuple[str, Flag]:
    if row["pair_id"] is None:
        raise row.bad(row.lacks("pair_id", "pair_id"))
    if row["flag"] not in WORDS:
        raise row.bad(f"flag is {row['flag']!r}, and must be one of {', '.join(WORDS)}")
    return str(row["pair_id"]), Flag(str(row["flag"]), str(row["note"] or ""))


def _decided(pair: cpt.Pair, flag: Flag) -> cpt.Pair | cpt.Drop:
    if flag.word == DROP:
        return cpt.Drop("flagged", " ".join(flag.note.split()))
    if flag.word == UNFLAGGED:
        return cpt.Drop(UNFLAGGED)
    return _swapped(pair, flag.note) if flag.word == SWAP else pair


def _swapped(pair: cpt.Pair, note: str) -> cpt.Pair:
    """The other preference; how far apart the two are (tier, margin) stays."""
    return attrs.evolve(
        pair,
        chosen=pair.rejected,
        rejected=pair.chosen,
        chosen_score=pair.rejected_score,
        rejected_score=pair.chosen_score,
        info={**pair.info, "flag": SWAP, **({"note": note} if note else {})},
    )
