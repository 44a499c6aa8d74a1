"""Beside the steps of a training: held-out pairs, an interrupt, a busy machine."""
