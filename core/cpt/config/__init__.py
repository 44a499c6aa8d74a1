"""The configuration of a run: its options, and the layers that their values come from."""

from cpt.config.addresses import Addresses, flatten, over, unflatten
from cpt.config.config import AFTER, BEFORE, Config, ControlConfig, training_of
from cpt.config.layers import (
    COMMANDS,
    DEFAULTS,
    Layer,
    environment,
    merge,
    of_run,
    preparse,
    presets,
    read,
    resolve,
    settled,
    stack,
)

__all__ = [
    "AFTER",
    "BEFORE",
    "COMMANDS",
    "DEFAULTS",
    "Addresses",
    "Config",
    "ControlConfig",
    "Layer",
    "environment",
    "flatten",
    "merge",
    "of_run",
    "over",
    "preparse",
    "presets",
    "read",
    "resolve",
    "settled",
    "stack",
    "training_of",
    "unflatten",
]
