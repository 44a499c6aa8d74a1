"""What a release promised is still there."""

from __future__ import annotations

from .public_api import PROMISED, listing


def test_nothing_that_was_promised_is_gone() -> None:
    """What goes is deprecated first: docs/reference/stability.md. Then it leaves the list."""
    promised = {*PROMISED.read_text().split("\n")} - {""}
    assert len(promised) > 300
    assert sorted(promised - listing()) == []


def test_a_name_that_goes_is_noticed() -> None:
    there = listing()
    assert {"cpt.Pair.tier", "cpt.read_pairs", "cpt.Loss", "cpt_losses"} <= there
    assert {"cpt_stage_ended(summary)", "cpt.testing.fake_batch(needs)"} <= there
    assert not any(name.startswith("cpt.asking") for name in there)
