"""The configuration of a run: its options, and the layers that their values come from."""

from cpt.config.config import AFTER, BEFORE, Config, Control, training_of
from cpt.config.layers import (
    DEFAULTS,
    Addresses,
    Layer,
    environment,
    flatten,
    merge,
    over,
    preparse,
    presets,
    read,
    resolve,
    stack,
    unflatten,
)

__all__ = [
    "AFTER",
    "BEFORE",
    "DEFAULTS",
    "Addresses",
    "Config",
    "Control",
    "Layer",
    "environment",
    "flatten",
    "merge",
    "over",
    "preparse",
    "presets",
    "read",
    "resolve",
    "stack",
    "training_of",
    "unflatten",
]
