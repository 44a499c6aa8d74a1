"""What every observer promises."""

from __future__ import annotations

from cpt.plugins.hooks import check_events
from cpt.roles import Observer
from cpt.testing.contracts.component import ComponentContract


class ObserverContract(ComponentContract[Observer]):
    """What every observer promises."""

    def test_its_methods_are_hooks_that_are_called(self) -> None:
        """It has a hook that observes, and each is marked, known, and takes what is passed."""
        cls = type(self.component)
        try:
            check_events(cls)
        except ValueError as error:
            raise AssertionError(f"{cls.__name__}: {str(error).rstrip('.')}.") from error
