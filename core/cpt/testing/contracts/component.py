"""What every component promises, whatever its role."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache, wraps
from typing import Any, ClassVar, Generic, TypeVar

import attrs
import pytest

from cpt.plugins.offers import nearest
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

    A component that breaks a promise on purpose says which, and why. The test then runs as usual
    and must fail:

        class TestMine(LossContract):
            component = Mine()
            breaks = {"test_it_trains": "it is a baseline"}

    Overriding or deleting a promise is an error.
    """

    component: C
    breaks: ClassVar[Mapping[str, str]] = {}
    """Promises that are broken on purpose: the name of the test, and the reason."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        promised = {name: base for base in cls.__mro__[:0:-1] for name in _promises(base)}
        for name in promised if not cls.__module__.startswith("cpt.testing.") else ():
            if name in vars(cls):
                raise TypeError(
                    f"{cls.__name__}.{name} replaces a promise of {promised[name].__name__}. Give "
                    f"your test another name, or declare that the promise is broken: "
                    f'breaks = {{"{name}": "the reason"}}.'
                )
        for name, reason in vars(cls).get("breaks", {}).items():
            if name not in promised:
                raise TypeError(
                    f"{cls.__name__}.breaks: no promise is called {name!r}."
                    f"{nearest(name, promised)}"
                )
            setattr(cls, name, _expected_to_fail(getattr(cls, name), reason))

    def test_it_is_a_frozen_attrs_class(self) -> None:
        """It is decorated with @attrs.frozen: without that, its new fields are no options."""
        cls = type(self.component)
        role = ROLES[self.component.role]
        assert "__attrs_attrs__" in vars(cls), "Decorate the class with @attrs.frozen."
        assert issubclass(cls, role), f"A {role.role} must derive from cpt.{role.__name__}."
        frozen = cls.__setattr__ is not object.__setattr__
        assert frozen, "Decorate the class with @attrs.frozen, not with @attrs.define."

    def test_the_name_is_easy_to_type(self) -> None:
        """The name has lower-case letters, digits and underscores."""
        name = self.component.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), (
            f"The name {name!r} must have lower-case letters, digits and underscores only."
        )

    def test_the_docstring_begins_with_one_line(self) -> None:
        """The docstring begins with one sentence on one line: `cpt show` prints it."""
        cls = type(self.component)
        assert "__doc__" in vars(cls), f"{cls.__name__} has no docstring of its own."
        first, _, rest = (cls.__doc__ or "").strip().partition("\n")
        assert first.endswith("."), "Begin the docstring with one sentence on one line."
        assert not rest.strip() or rest.startswith("\n"), (
            "Leave a blank line after the first line of the docstring."
        )

    def test_every_option_says_what_it_is(self) -> None:
        """Every option has a string under its field, which is its help."""
        from cpt.config import options

        cls = type(self.component)
        described = {name for name, text in options.descriptions(cls).items() if text.strip()}
        undescribed = {field.name for field in options.fields(cls)} - described
        assert not undescribed, f"Write a string under each of these fields: {undescribed}."

    def test_options_survive_a_round_trip(self) -> None:
        """Plain data made of the component makes the same component: run.yaml relies on it."""
        from cpt.config import options
        from cpt.plugins.manager import load_plugins
        from cpt.plugins.registry import Registry

        registry = Registry.collect(load_plugins())
        for part in _parts(self.component):
            registry = registry.including(type(part))
        written = json.dumps(options.converter(registry).unstructure(self.component))
        values = json.loads(written)
        name = values.pop("name")
        assert name == self.component.name, f"The name {name!r} is written to run.yaml."
        again = options.build(type(self.component), values, registry)
        assert again == self.component, (
            f"Its options are written as {written}, of which {again!r} is made."
        )

    def test_importing_the_plugin_is_cheap(self) -> None:
        """Its module imports no heavy package: `cpt --help` imports every plugin."""
        module = type(self.component).__module__
        heavy = _heavy_imports(module)
        assert not heavy, f"{module} imports {', '.join(heavy)}; do so in the method that needs it."


def _promises(cls: type) -> Iterator[str]:
    """The tests that a contract, and no contract's user, defines."""
    if cls.__module__.startswith("cpt.testing."):
        yield from (name for name in vars(cls) if name.startswith("test_"))


def _expected_to_fail(promise: Callable[..., None], reason: str) -> Callable[..., None]:
    """The same test, which must fail; a failure of a fixture does not count."""

    @wraps(promise)
    def test(*args: Any, **kwargs: Any) -> None:
        try:
            promise(*args, **kwargs)
        except Exception as error:
            raise AssertionError(str(error)) from error

    marked: Callable[..., None] = pytest.mark.xfail(
        reason=reason, strict=True, raises=AssertionError
    )(test)
    return marked


def _parts(value: Any) -> Iterator[Component]:
    """A component and all components in its options."""
    if isinstance(value, Component):
        yield value
    if attrs.has(type(value)):
        for field in attrs.fields(type(value)):
            yield from _parts(getattr(value, field.name))
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _parts(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _parts(item)


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
