"""Pairs as token ids: rendered, checked, packed."""
