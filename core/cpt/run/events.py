"""Tell the observing plugins what happened; none of them can stop a run."""

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
    control: str = ""
    """The name of the control that this run is; empty for the run itself."""
    _failed: set[str] = attrs.field(factory=set, init=False)

    def __call__(self, event: str, /, **facts: Any) -> None:
        """Call one hook. An observer that raises is logged once, with its plugin's name."""
        known = {"output": self.output, "control": self.control, **facts}
        caller = getattr(self.plugins.manager.hook, event)
        for observer in caller.get_hookimpls():
            try:
                observer.function(*(known[name] for name in observer.argnames))
            except Exception:
                if observer.plugin_name not in self._failed:
                    self._failed.add(observer.plugin_name)
                    log.exception(
                        "plugin %r failed in %s; the run continues", observer.plugin_name, event
                    )
