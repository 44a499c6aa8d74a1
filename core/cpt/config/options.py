"""The options of an attrs class: from and to plain values, and what they are called and do."""

from __future__ import annotations

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin

import attrs

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


class Unparsed(str):
    """A text whose option may have any type: only that type says what the text means."""


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

    def structure(value: Any, base: type[Component]) -> Component:
        given = spell_out(value, base.role, registry)
        component: Component = made.structure(given, registry[base.role, given.pop("name")])
        return component

    def unstructure(component: Component) -> dict[str, Any]:
        fill = make_dict_unstructure_fn(type(component), made)
        return {"name": registry.name_of(type(component)), **fill(component)}

    def by_name(kind: Any) -> Callable[[Any, Any], Any]:
        fill = made.gen_structure_attrs_fromdict(kind)
        if _is_component(kind):  # its name is settled, but written beside its options
            return lambda value, kind: fill(_without_name(_mapping(value), kind), kind)
        return lambda value, kind: fill(_mapping(value), kind)

    made.register_structure_hook_factory(attrs.has, by_name)
    made.register_structure_hook_func(lambda kind: kind in ROLES.values(), structure)
    made.register_unstructure_hook_func(_is_component, unstructure)
    made.register_structure_hook(bool, lambda value, _: _boolean(value))
    made.register_structure_hook(int, lambda value, _: _integer(value))
    made.register_structure_hook(float, lambda value, _: _number(value))
    made.register_structure_hook(str, lambda value, _: _text(value))
    made.register_structure_hook_func(
        lambda kind: _origin(kind) is Literal, lambda value, kind: _one_of(value, kind)
    )
    made.register_structure_hook_func(
        lambda kind: _origin(kind) is Mapping, lambda value, kind: _named(value, kind, made)
    )
    made.register_structure_hook_func(
        lambda kind: _origin(kind) is tuple, lambda value, kind: _several(value, kind, made)
    )
    made.register_structure_hook_func(
        lambda kind: _origin(kind) in (Union, UnionType), lambda v, kind: _either(v, kind, made)
    )
    return made


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


def _origin(kind: Any) -> Any:
    return get_origin(kind)


def _is_component(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Component)


def _boolean(value: Any) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if isinstance(value, bool):
        return value
    if str(value).lower() in words:
        return words[str(value).lower()]
    raise ValueError(f"expected true or false, got {value!r}")


def _integer(value: Any) -> int:
    number = _number(value, "a whole number")
    if number % 1:  # neither is the rest of infinity 0
        raise ValueError(f"expected a whole number, got {value!r}")
    return int(number) if isinstance(value, str) and not value.isdigit() else int(value)


def _number(value: Any, what: str = "a number") -> float:
    try:
        if not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"expected {what}, got {value!r}")


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"expected text, got {value!r}")
    return str(value)


def _one_of(value: Any, kind: Any) -> Any:
    choices = get_args(kind)
    if value in choices:
        return value
    raise ValueError(f"expected one of {', '.join(map(str, choices))}, got {value!r}")


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError(f"expected options by name, got {value!r}")
    return value


def _several(value: Any, kind: Any, made: cattrs.Converter) -> tuple[Any, ...]:
    """A tuple of any length; one value alone is a tuple of one, and no text is none."""
    inner = get_args(kind)[0]
    items = [item for item in (value if isinstance(value, list | tuple) else [value]) if item != ""]
    return tuple(made.structure(list(items), list[inner]))  # type: ignore[valid-type]


def _without_name(value: Mapping[str, Any], kind: type[Component]) -> dict[str, Any]:
    same = value.get("name") == kind.name
    return {key: given for key, given in value.items() if not (same and key == "name")}


def _named(value: Any, kind: Any, made: cattrs.Converter) -> dict[str, Any]:
    """A mapping from names; JSON text is one too."""
    name, inner = get_args(kind)
    value = from_text(value) if isinstance(value, str) else value
    if inner is Any:
        return {str(key): _parsed(item) for key, item in _mapping(value).items()}
    return made.structure(_mapping(value), dict[name, inner])  # type: ignore[valid-type]


def _parsed(value: Any) -> Any:
    """A value of any kind, with what is not parsed yet, however deep, parsed."""
    if isinstance(value, Mapping):
        return {key: _parsed(inner) for key, inner in value.items()}
    return from_text(value) if isinstance(value, Unparsed) else value


def from_text(text: str) -> Any:
    """The value of a JSON text (`True` and `False` as well); other text is itself."""
    words = {"true": True, "false": False}
    try:
        return words[text.lower()] if text.lower() in words else json.loads(text)
    except (ValueError, RecursionError):
        return str(text)


def _either(value: Any, kind: Any, made: cattrs.Converter) -> Any:
    """The first member of a union that takes the value; no text is none."""
    members = [member for member in get_args(kind) if member is not NoneType]
    if value in (None, "") and len(members) < len(get_args(kind)):
        return None
    for member in members[:-1]:
        try:
            return made.structure(value, member)
        except Exception:  # the last member's complaint is the one shown
            continue
    return made.structure(value, members[-1])


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
            "type": inspect.formatannotation(field.type).replace("NoneType", "None"),
            "required": field.default is attrs.NOTHING,
            "default": default(field),
            "help": descriptions(cls).get(field.name, ""),  # type: ignore[arg-type]
        }
