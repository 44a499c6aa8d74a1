"""Write the reference pages that say what the code says: `python docs/generate.py`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

import cpt
from cpt import errors, hookspecs, roles, testing, types
from cpt.config import Config, options
from cpt.plugins.manager import load_plugins
from cpt.plugins.registry import Registry, plural
from cpt.roles import ROLES
from cpt.run.read import Records, RunReader
from cpt.testing import plugin

REFERENCE = Path(__file__).parent / "reference"
ROAD = ("pairer", "scheduler", "loss", "responder", "judge", "evaluator")
BY = "*Written by `docs/generate.py` from the code itself.*"


def hooks() -> str:
    """Every hook under the headings of its source file."""
    source = inspect.getsource(hookspecs)
    lines = [
        "# Hooks",
        "",
        BY,
        "",
        "What a plugin can offer or observe. All of it is optional.",
        "",
    ]
    for heading, name in re.findall(r"^# (.+)$|^def (cpt_\w+)", source, re.MULTILINE):
        if heading:
            lines += [f"## {heading.rstrip('.')}", ""]
        else:
            hook = getattr(hookspecs, name)
            signature = _signature(hook)
            lines += [f"### {name}", "", f"```python\n{signature}\n```", "", _doc(hook), ""]
    return "\n".join(lines)


def components(registry: Registry) -> str:
    """Every bundled component with its options."""
    lines = ["# Components", "", BY, ""]
    lines += [
        "`cpt show ROLE NAME` prints the same, of your own plugins too. An option's address is its",
        "name under that of its component: `loss.beta`, `pairer.student.model`; where there are",
        "several, with their number: `pairer.rungs.0.model`.",
        "",
    ]
    for role in ROAD:
        lines += [f"## {plural(role).capitalize()}", "", _doc(ROLES[role]), ""]
        for name in registry.names(role):
            cls = registry[role, name]
            lines += [f"### {name}", "", _doc(cls), "", *_table(cls, "")]
    return "\n".join(lines)


def run_options() -> str:
    """Every option of a run that belongs to no component."""
    lines = [
        "# Options of a run",
        "",
        BY,
        "",
        "Each has one address: `train.epochs` is the flag `--train.epochs`, the key `epochs` under",
        "`train` in a file, and `CPT_TRAIN__EPOCHS` in the environment.",
        "",
        *_table(Config, ""),
    ]
    for field in options.fields(Config):
        kind = options.without_none(field.type)
        if attrs.has(kind) and kind not in ROLES.values():
            lines += [f"## {field.name}", "", _doc(kind), "", *_table(kind, f"{field.name}.")]
            lines += _shortened(kind, field.name)
    return "\n".join(lines)


def _shortened(cls: type[Any], under: str) -> Iterator[str]:
    """The flags that need not say what they are under, in a sentence."""
    names = [each.name for each in options.fields(cls) if each.metadata.get("short")]
    if names:
        short, whole = (", ".join(f"`--{on}{name}`" for name in names) for on in ("", f"{under}."))
        yield from (f"On the command line {short} stand for {whole}.", "")


def api() -> str:
    """Everything that `import cpt` gives."""
    lines = ["# Python API", "", BY, "", "What `import cpt` gives a plugin's author.", ""]
    for module, title in ((roles, "Roles"), (types, "Records"), (errors, "Errors")):
        named = [getattr(cpt, name) for name in cpt.__all__]
        classes = [each for each in named if getattr(each, "__module__", "") == module.__name__]
        lines += [f"## {title}", ""]
        for cls in sorted(classes, key=lambda cls: inspect.getsourcelines(cls)[1]):
            lines += [f"### {cls.__name__}", "", _doc(cls), "", *_members(cls)]
    lines += ["## Reading", ""]
    for name in cpt.READERS:
        function = getattr(cpt, name)
        lines += [f"```python\n{_signature(function)}\n```", "", _doc(function), ""]
    for cls in (RunReader, Records):
        lines += [f"### {cls.__name__}", "", _doc(cls), "", *_members(cls)]
    return "\n".join(lines)


def kit() -> str:
    """Every promise of every contract, and what else a plugin's tests can use."""
    lines = ["# Contract kit", "", BY, "", _doc(testing), ""]
    contracts = [getattr(testing, name) for name in testing.__all__ if "Contract" in name]
    for cls in sorted(contracts, key=lambda cls: cls is not testing.ComponentContract):
        lines += [f"## {cls.__name__}", "", _doc(cls), "", *_promises(cls), ""]
    lines += ["## Stand-ins", ""]
    for name in (name for name in testing.__all__ if "Contract" not in name):
        thing = getattr(testing, name)
        shown = name if inspect.isclass(thing) else _signature(thing)
        lines += [f"```python\n{shown}\n```", "", _doc(thing), ""]
    fixture = plugin.cpt_cli
    return "\n".join([*lines, "## Fixtures", "", "### cpt_cli", "", _doc(fixture), ""])


def _promises(cls: type[Any]) -> Iterator[str]:
    """The tests of a contract as sentences, then what its user may override."""
    for name, test in vars(cls).items():
        if name.startswith("test_"):
            promise = name.removeprefix("test_").replace("_", " ").capitalize()
            yield f"- **{promise}.** {' '.join(_doc(test).split())}".rstrip()
    for name, member in vars(cls).items():
        if inspect.isfunction(member) and _is_public(name, member) and "test_" not in name:
            yield from ("", f"```python\n{_signature(member)}\n```", "", _doc(member))


def _members(cls: type[Any]) -> Iterator[str]:
    if attrs.has(cls) and cls.__module__ == types.__name__:
        yield from _rows("| | type | |", _record(cls))
    for name, member in vars(cls).items():
        function = member.fget if isinstance(member, property) else member
        if inspect.isfunction(function) and function.__doc__ and _is_public(name, function):
            shown = name if isinstance(member, property) else _signature(function)
            yield from (f"```python\n{shown}\n```", "", _doc(function), "")


def _record(cls: type[Any]) -> Iterator[tuple[str, ...]]:
    """The public fields of a record, their types as written."""
    for name, kind in inspect.get_annotations(cls).items():
        if not name.startswith("_"):
            yield f"`{name}`", f"`{kind}`", options.descriptions(cls).get(name, "")


def _is_public(name: str, function: Callable[..., Any]) -> bool:
    written = "<attrs generated" not in function.__code__.co_filename
    return written and (not name.startswith("_") or name == "__call__")


def _table(cls: type[Any], under: str) -> Iterator[str]:
    """The options of a class, one a row."""
    return _rows("| | type | default | |", (_option(row, under) for row in options.schema(cls)))


def _option(row: Mapping[str, Any], under: str) -> tuple[str, ...]:
    default = "must be given" if row["required"] else f"`{_plain(row['default'])}`"
    kind = re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", row["type"])
    return f"`{under}{row['name']}`", f"`{kind}`", default, row["help"]


def _rows(head: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """A table, or nothing without rows."""
    written = ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    if written:
        yield from (head, "|---" * (head.count("|") - 1) + "|", *written, "")


def _plain(default: Any) -> str:
    if default == "":
        return '""'
    name = getattr(default, "name", None)
    return str(name if isinstance(default, cpt.Component) else default)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", r"\|")


def _signature(function: Callable[..., Any]) -> str:
    """A signature as written, with its name and on one line."""
    start = re.search(r"(async )?def ", source := inspect.getsource(function))
    assert start is not None
    written = source[start.start() :]
    end = re.search(r":\s*(#.*)?\n", written)
    assert end is not None
    joined = " ".join(written[: end.start()].split())
    return joined.replace("( ", "(").replace(" )", ")").replace(",)", ")")


def _doc(thing: Any) -> str:
    return inspect.cleandoc(thing.__doc__ or "")


def pages() -> Iterable[tuple[Path, str]]:
    """Every generated page and what it should say."""
    registry = Registry.collect(load_plugins())
    for name, text in (
        ("hooks", hooks()),
        ("components", components(registry)),
        ("options", run_options()),
        ("api", api()),
        ("testing", kit()),
    ):
        yield REFERENCE / f"{name}.md", text.rstrip() + "\n"


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text)
