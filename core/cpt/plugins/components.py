"""Whether a class can be a component: what is wrong with it, before anyone picks it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import attrs

from cpt.plugins.hooks import check_events
from cpt.plugins.methods import problem_of_methods
from cpt.roles import Component, Loss, Observer
from cpt.roles.loss import problem_of_needs


def check_component(cls: Any, base: type[Component], hook: str) -> None:
    """Raise `TypeError` or `ValueError`, in one line, if `cls` cannot be a component."""
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise TypeError(f"{hook} must return classes derived from cpt.{base.__name__}, got {cls!r}")
    _check_name(cls)
    _check_options(cls)
    _check_methods(cls)
    if issubclass(cls, Loss):
        _check_needs(cls)
    if issubclass(cls, Observer):
        _check_hooks(cls)


def _check_name(cls: type[Component]) -> None:
    if "name" in _annotated(cls):
        raise TypeError(
            f"{_where(cls)}: `name` has a type, which makes it an option; "
            "write `name = ...` without a type"
        )
    if not isinstance(getattr(cls, "name", None), str):
        raise TypeError(f"{_where(cls)} has no name; write `name = ...` in the class")


def _check_options(cls: type[Component]) -> None:
    if "__attrs_attrs__" not in vars(cls) and (_annotated(cls) or _counted(cls)):
        raise TypeError(f"{_where(cls)} has fields; decorate it with @attrs.frozen")
    if bare := next(_without_type(cls), None):
        raise TypeError(
            f"{_where(cls)}: `{bare}` has no type, so it is no option; write `{bare}: TYPE = ...` "
            f"(or `{bare}: ClassVar = ...` if it is none)"
        )
    for field in attrs.fields(cls):
        if problem := _problem_of_option(field, cls):
            raise TypeError(f"{_where(cls)}: the option `{field.name}` {problem}")


def _problem_of_option(field: attrs.Attribute[Any], cls: type[Component]) -> str:
    if isinstance(field.default, list | dict | set):
        return (
            "has a default that all share and one may change; write a tuple, "
            f"or `attrs.field(factory={type(field.default).__name__})`"
        )
    if field.name == "role" or any(callable(vars(base).get(field.name)) for base in cls.__mro__):
        return "has the name of something else in its base class; give it another"
    return ""


def _check_methods(cls: type[Component]) -> None:
    if any(map(_has_own_init, cls.__mro__)):
        raise TypeError(
            f"{_where(cls)} has an `__init__` of its own; its options are the fields of a class "
            "that is decorated with @attrs.frozen"
        )
    if problem := problem_of_methods(cls):
        raise TypeError(f"{_where(cls)}: {problem}")


def _check_needs(cls: type[Loss]) -> None:
    if problem := problem_of_needs(cls.needs):
        raise ValueError(f"{_where(cls)}: {problem}")


def _has_own_init(cls: type[Any]) -> bool:
    """Whether a component has an `__init__` that attrs did not write."""
    attrs_wrote = "__attrs_attrs__" in vars(cls) and "__attrs_init__" not in vars(cls)
    return issubclass(cls, Component) and "__init__" in vars(cls) and not attrs_wrote


def _check_hooks(cls: type[Observer]) -> None:
    try:
        check_events(cls)
    except ValueError as error:
        raise ValueError(f"{_where(cls)}: {error}") from error


def _annotated(cls: type[Component]) -> set[str]:
    """The names in its own body that have a type, which makes options of them."""
    return {name for name, kind in _annotations(cls).items() if "ClassVar" not in str(kind)}


def _counted(cls: type[Component]) -> bool:
    """Whether it has an `attrs.field()` that no decorator made an option of."""
    made = type(attrs.field())
    return any(isinstance(value, made) for value in vars(cls).values())


def _without_type(cls: type[Component]) -> Iterator[str]:
    """Names in its body, and in those of its bases outside cpt, that look like options.

    Plain values under a name of their own are meant: not methods, not constants in capitals, and
    not what gives an attribute of a base class its value.
    """
    yield from (field.name for field in attrs.fields(cls) if field.type is None)
    for derived in cls.__mro__[: cls.__mro__.index(Component)]:
        if issubclass(derived, Component) and not derived.__module__.startswith("cpt."):
            for name in filter(partial(_is_plain, derived), vars(derived)):
                if not _is_declared(name, derived):
                    yield name


def _is_plain(cls: type[Component], name: str) -> bool:
    """Whether a class has a plain value without a type under a public name."""
    value = vars(cls)[name]
    plain = not (callable(value) or hasattr(value, "__get__"))
    typed = name in _annotations(cls)
    return plain and not (typed or name.startswith("_") or name.isupper())


def _is_declared(name: str, cls: type[Component]) -> bool:
    """Whether a base class has an attribute of this name, or says that there is one."""
    bases = cls.__mro__[1:]
    return any(name in vars(base) or name in _annotations(base) for base in bases)


def _annotations(cls: type[Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = vars(cls).get("__annotations__", {})
    return found


def _where(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
