"""Tell the observers what happened; none of them can stop a run."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import attrs

from cpt.plugins.manager import Plugins

log = logging.getLogger("cpt")


@attrs.define
class Events:
    """Calls the observing hooks of every plugin."""

    plugins: Plugins
    output: Path
    _failed: set[str] = attrs.field(factory=set, init=False)

    def __call__(self, event: str, /, **facts: Any) -> None:
        """Call one hook. An observer that raises is logged once, with its plugin's name."""
        caller = getattr(self.plugins.manager.hook, event)
        for each in caller.get_hookimpls():
            known = {"output": self.output, **facts}
            try:
                each.function(*(known[name] for name in each.argnames))
            except Exception:
                if each.plugin_name not in self._failed:
                    self._failed.add(each.plugin_name)
                    log.exception(
                        "plugin %r failed in %s; the run goes on", each.plugin_name, event
                    )
