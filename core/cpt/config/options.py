"""The options of an attrs class: from and to plain values, and what they are called and do."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import cache, partial
from itertools import pairwise
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin

import attrs

from cpt.config.values import mapping_of, take_values
from cpt.errors import BadOptions, CptError
from cpt.plugins.offers import nearest
from cpt.plugins.registry import Registry
from cpt.roles import ROLES, Component

if TYPE_CHECKING:  # slow to import
    import cattrs
    from cattrs.errors import ClassValidationError, IterableValidationError

T = TypeVar("T")
VALIDATED = re.compile(r"(Length of )?'(\w+)' (must .*)", re.DOTALL)
"""What the validators of attrs say, which name the field first."""

MISSING = ": must be given"
"""How a complaint about a missing value ends: no place gave it."""

MODULES = re.compile(r"('[^']*')|\b(?:[a-zA-Z_]\w*\.)+(?=[a-zA-Z_])")
"""Quoted text, or the modules before a name."""


def build(cls: type[T], values: Mapping[str, Any], registry: Registry, *, under: str = "") -> T:
    """Make a `cls` from plain values.

    Raises `BadOptions` that says which of them do not fit, each with its address.
    """
    from cattrs.errors import ClassValidationError, IterableValidationError

    try:
        return converter(registry).structure(values, cls)
    except (ClassValidationError, IterableValidationError, CptError) as error:
        raise BadOptions("\n".join(_complaints(error, under))) from error


def converter(registry: Registry) -> cattrs.Converter:
    """Between plain values and components, which are written `{name: ..., option: ...}`."""
    import cattrs
    from cattrs.gen import make_dict_unstructure_fn

    made = cattrs.Converter(forbid_extra_keys=True)
    take_values(made)

    def structure(value: Any, base: type[Component]) -> Component:
        given = spell_out(value, base.role, registry)
        component: Component = made.structure(given, registry[base.role, given.pop("name")])
        return component

    def unstructure(component: Component) -> dict[str, Any]:
        fill = make_dict_unstructure_fn(type(component), made)
        return {"name": registry.name_of(type(component)), **fill(component)}

    made.register_structure_hook_factory(attrs.has, partial(_by_name, made))
    made.register_structure_hook_func(lambda kind: kind in ROLES.values(), structure)
    made.register_unstructure_hook_func(_is_component, unstructure)
    return made


def _by_name(made: cattrs.Converter, cls: Any) -> Callable[[Any, Any], Any]:
    """What makes a `cls` from its options by name."""
    fill = made.gen_structure_attrs_fromdict(cls)
    if _is_component(cls):  # its name is settled, but written beside its options
        return lambda value, kind: fill(_without_name(mapping_of(value), kind), kind)
    return lambda value, kind: fill(mapping_of(value), kind)


def spell_out(value: Any, role: str, registry: Registry) -> dict[str, Any]:
    """`openai:gpt-4.1` as `{name: openai, model: gpt-4.1}`: the argument fills the first field."""
    given = dict(value) if isinstance(value, Mapping) else {"name": value}
    if not isinstance(given.get("name"), str):
        raise CptError(f"expected NAME or {{name: NAME, ...}} of a {role}, got {value!r}")
    name, colon, argument = given["name"].partition(":")
    if not colon:
        return given
    first = fields(registry[role, name])
    if not first:
        raise CptError(f"{name!r} takes no argument, but {argument!r} follows its colon")
    return {first[0].name: argument, **given, "name": name}


def fields(cls: type[Any]) -> tuple[attrs.Attribute[Any], ...]:
    """The attrs fields of a class that can be given, its own leading ones first, types resolved."""
    try:
        found: tuple[attrs.Attribute[Any], ...] = attrs.fields(attrs.resolve_types(cls))
    except NameError as error:
        raise CptError(
            f"{cls.__module__}.{cls.__qualname__}: the type of an option is unknown ({error}); "
            "import it in the plugin, outside of `if TYPE_CHECKING`."
        ) from error
    return tuple(sorted((field for field in found if field.init), key=lambda field: field.kw_only))


def default(field: attrs.Attribute[Any]) -> Any:
    """What a field is if it is not given; None if it must be."""
    if field.default is attrs.NOTHING:
        return None
    make = getattr(field.default, "factory", None)
    return make() if make else field.default


@cache
def descriptions(cls: Hashable) -> dict[str, str]:
    """The string written under each field of a class: the help of its flag."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):  # type: ignore[attr-defined]
        if attrs.has(base):
            found |= _described_in(base)
    return found


def _described_in(cls: type[Any]) -> dict[str, str]:
    try:
        source = textwrap.dedent(inspect.getsource(cls))
    except (OSError, TypeError):  # no source at hand: flags without help still work
        return {}
    body = ast.parse(source).body[0].body  # type: ignore[attr-defined]
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def without_none(annotation: Any) -> Any:
    """`X` of `X | None`."""
    rest = [arg for arg in get_args(annotation) if arg is not NoneType]
    one = get_origin(annotation) in (Union, UnionType) and len(rest) == 1
    return rest[0] if one else annotation


def _is_component(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Component)


def _without_name(value: Mapping[str, Any], kind: type[Component]) -> dict[str, Any]:
    same = value.get("name") == kind.name
    return {key: given for key, given in value.items() if not (same and key == "name")}


def _complaints(error: BaseException, address: str) -> Iterator[str]:
    """One line for everything wrong, each beginning with the address of the culprit."""
    from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

    if isinstance(error, ClassValidationError | IterableValidationError):
        for inner, note in _noted(error):
            yield from _complaints(
                inner, f"{address}.{note}" if address and note else note or address
            )
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in fields(error.cl)]
        for extra in sorted(error.extra_fields):
            where = f"{address}.{extra}" if address else extra
            yield f"{where}: no such option.{nearest(extra, known)} There are: {', '.join(known)}."
    elif isinstance(error, KeyError):
        yield f"{address}{MISSING}"
    else:
        message = error.format_message() if isinstance(error, CptError) else str(error)
        if validated := VALIDATED.match(message):
            length, name, must = validated.groups()
            address, message = (
                f"{address}.{name}".lstrip("."),
                f"its length {must}" if length else must,
            )
        yield f"{address}: {message}" if address else message


def _noted(error: ClassValidationError | IterableValidationError) -> Iterator[tuple[Any, str]]:
    """Every inner error with the name of the attribute or the index that it happened at."""
    for inner in error.exceptions:
        notes = [note for note in getattr(inner, "__notes__", ()) if hasattr(note, "type")]
        note = notes[-1] if notes else None
        yield inner, str(getattr(note, "name", getattr(note, "index", ""))) if note else ""


def schema(cls: type[Any], under: str = "") -> Iterator[dict[str, Any]]:
    """Every option of a class as plain data: what `cpt show` and the reference print."""
    for field in fields(cls):
        part: Any = field.type
        if attrs.has(part) and part not in ROLES.values():  # with options of its own
            yield from schema(part, f"{under}{field.name}.")
            continue
        yield {
            "name": f"{under}{field.name}",
            "type": _written(field.type),
            "required": field.default is attrs.NOTHING,
            "default": default(field),
            "help": descriptions(cls).get(field.name, ""),  # type: ignore[arg-type]
        }


def _written(annotation: Any) -> str:
    """A type as its plugin's source has it: no name with its modules before it."""
    text = inspect.formatannotation(annotation).replace("NoneType", "None")
    return MODULES.sub(r"\1", text)
