"""Observers watch a run."""

from __future__ import annotations

import attrs

from cpt.roles.component import Component


@attrs.frozen
class Observer(Component):
    """Observes a run, with options of its own.

    Its methods are the hooks that observe (`cpt_step_ended` and the like), each marked with
    `@cpt.hookimpl`. What it must remember is in a field with `init=False`.
    """

    role = "observer"
