"""Pairs of any source examined, on all cores."""
