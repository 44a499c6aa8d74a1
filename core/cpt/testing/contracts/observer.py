"""What every observer promises."""

from __future__ import annotations

from cpt.plugins.hooks import check_hooks
from cpt.roles import Observer
from cpt.testing.contracts.component import ComponentContract


class ObserverContract(ComponentContract[Observer]):
    """What every observer promises."""

    def test_its_methods_are_hooks_that_are_called(self) -> None:
        """It has a hook, and each is marked, known, and takes only arguments that are passed."""
        cls = type(self.component)
        try:
            check_hooks(cls)
        except ValueError as error:
            raise AssertionError(f"{cls.__name__}: {str(error).rstrip('.')}.") from error
