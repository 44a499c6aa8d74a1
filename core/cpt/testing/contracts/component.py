"""What every component promises, whatever its role."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Generic, TypeVar

import attrs
import pytest

from cpt.roles import ROLES, Component

C = TypeVar("C", bound=Component)

HEAVY = (
    "accelerate",
    "anthropic",
    "datasets",
    "openai",
    "pyarrow",
    "sklearn",
    "torch",
    "transformers",
)


class ComponentContract(Generic[C]):
    """What every component promises, whatever its role.

    A component that needs a fixture (a file, a server) is set for each test:

        class TestMine(ResponderContract):
            @pytest.fixture(autouse=True)
            def _component(self, tmp_path):
                self.component = Mine(tmp_path / "answers.jsonl")

    A promise that is broken on purpose is broken aloud: override the test, mark it
    `@pytest.mark.xfail(reason=...)` and call `super()`. Overriding or deleting one without
    that mark is an error.
    """

    component: C

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        promised = {name for base in cls.__mro__[1:] for name in _promises(base)}
        for name in sorted(promised & vars(cls).keys()):
            if not _breaks_aloud(vars(cls)[name]):
                raise TypeError(
                    f"{cls.__name__}.{name} replaces a promise of its contract. Give your test "
                    f"another name, or mark it @pytest.mark.xfail(reason=...)."
                )

    def test_it_is_a_frozen_attrs_class(self) -> None:
        """Without a decorator of its own, a class's new fields would be no options."""
        cls = type(self.component)
        assert "__attrs_attrs__" in vars(cls), "decorate the class with @attrs.frozen"
        assert issubclass(cls, ROLES[self.component.role])
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            self.component.name = "other"  # type: ignore[misc]

    def test_the_name_is_easy_to_type(self) -> None:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", self.component.name), "lower_case_with_underscores"

    def test_the_docstring_begins_with_one_line(self) -> None:
        """It is what `cpt show` and the reference say of the component."""
        cls = type(self.component)
        assert "__doc__" in vars(cls), "write a docstring"
        first, _, rest = (cls.__doc__ or "").strip().partition("\n")
        assert first.endswith("."), "begin the docstring with one sentence on one line"
        assert not rest.strip() or rest.startswith("\n"), "leave a blank line after the first"

    def test_every_option_says_what_it_is(self) -> None:
        from cpt.config import options

        cls = type(self.component)
        described = {name for name, text in options.descriptions(cls).items() if text.strip()}
        undescribed = {field.name for field in options.fields(cls)} - described
        assert not undescribed, "write a string under the field"

    def test_options_survive_a_round_trip(self) -> None:
        """Component to plain data to component: what makes a run folder explain itself."""
        from cpt.config import options
        from cpt.plugins.manager import load_plugins
        from cpt.plugins.registry import Registry

        registry = Registry.collect(load_plugins())
        for part in _parts(self.component):
            registry = registry.including(type(part))
        written = json.dumps(options.converter(registry).unstructure(self.component))
        values = json.loads(written)
        assert values.pop("name") == self.component.name
        assert options.build(type(self.component), values, registry) == self.component

    def test_importing_the_plugin_is_cheap(self) -> None:
        """`cpt --help` imports every plugin."""
        module = type(self.component).__module__
        assert not _heavy_imports(module), "import heavy packages in the method that needs them"


def _promises(cls: type) -> Iterator[str]:
    """The tests that a contract, and no contract's user, defines."""
    if cls.__module__.startswith("cpt.testing."):
        yield from (name for name in vars(cls) if name.startswith("test_"))


def _breaks_aloud(test: object) -> bool:
    marks = getattr(test, "pytestmark", ())
    return any(mark.name == "xfail" and mark.kwargs.get("reason") for mark in marks)


def _parts(value: Any) -> Iterator[Component]:
    """A component and all components in its options."""
    if isinstance(value, Component):
        yield value
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _parts(each)
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _parts(each)


@cache
def _heavy_imports(module: str) -> list[str]:
    code = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    found: list[str] = json.loads(in_fresh_process(code).replace("'", '"'))
    return found


def in_fresh_process(code: str, stdin: bytes = b"", **environment: str) -> str:
    """What Python prints when it runs `code` with this process's import path."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment}
    done = subprocess.run(
        [sys.executable, "-c", code], input=stdin, capture_output=True, env=environment
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
