"""Write the reference pages that say what the code says: `python docs/generate.py`."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

import cpt
from cpt import (
    contrast,
    data,
    errors,
    files,
    hookspecs,
    likelihood,
    matches,
    models,
    paths,
    roles,
    service,
    statistics,
    testing,
    types,
)
from cpt.config import Config, options
from cpt.config.config import ControlConfig
from cpt.config.layers import DEFAULTS
from cpt.plugins.manager import load_plugins
from cpt.plugins.offers import plural
from cpt.plugins.registry import Registry
from cpt.roles import ROLES
from cpt.run.results.read import Records, RunReader
from cpt.testing import plugin
from cpt.training.kinds import KINDS

REFERENCE = Path(__file__).parent / "reference"
LLMS = Path(__file__).parent / "llms.txt"
ROLE_ORDER = (
    *("pairer", "filter", "scheduler", "loss"),
    *("responder", "judge", "evaluator", "observer"),
)
PUBLIC = (
    *(cpt, contrast, data, files, likelihood, matches, models, paths, service, statistics),
    testing,
)
"""The modules that plugins may import, bundled ones as well as yours."""
CLASS_VARIABLE = re.compile(r"ClassVar\[(.+)\]$")
OPTIONS = "| option | type | default | meaning |"
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
    parts = re.findall(r"^# (.+)\n((?:#.*\n)*)|^def (cpt_\w+)", source, re.MULTILINE)
    for heading, about, name in parts:
        if heading:
            text = re.sub(r"^# ?", "", about, flags=re.MULTILINE).strip()
            lines += [f"## {heading}", "", *([text, ""] if text else [])]
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
    for role in ROLE_ORDER:
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
        "`loss: NAME` picks a component; its own options are in [Components](components.md).",
        "",
        *_rows(OPTIONS, _run_options()),
    ]
    for field in options.fields(Config):
        kind = options.without_none(field.type)
        if attrs.has(kind) and kind not in ROLES.values():
            lines += [f"## {field.name}", "", _doc(kind), "", *_table(kind, f"{field.name}.")]
            lines += _shortened(kind, field.name)
    lines += ["## controls.NAME", "", _doc(ControlConfig), ""]
    return "\n".join([*lines, *_table(ControlConfig, "controls.NAME.")])


def _run_options() -> Iterator[tuple[str, ...]]:
    """Those that are no part of another, such as `train`, with what a run has that names none."""
    for row in options.schema(Config):
        name = row["name"]
        if "." not in name:
            known = {"required": False, "default": DEFAULTS[name]} if name in DEFAULTS else {}
            yield _option({**row, **known}, "")


def _shortened(cls: type[Any], under: str) -> Iterator[str]:
    """The flags that need not say what they are under, in a sentence."""
    names = [field.name for field in options.fields(cls) if field.metadata.get("short")]
    if names:
        short, whole = (", ".join(f"`--{on}{name}`" for name in names) for on in ("", f"{under}."))
        yield from (f"On the command line {short} stand for {whole}.", "")


def api() -> str:
    """Everything that plugins may import, module by module."""
    lines = ["# Python API", "", BY, "", _doc(api_note), ""]
    lines += [f"- `{module.__name__}`: {_doc(module).partition(chr(10))[0]}" for module in PUBLIC]
    lines += ["", "## cpt", ""]
    for module, title in ((roles, "Roles"), (types, "Records"), (errors, "Errors")):
        named = [getattr(cpt, name) for name in public_names(cpt)]
        classes = [thing for thing in named if inspect.isclass(thing) and _is_in(thing, module)]
        lines += [f"### {title}", ""]
        for cls in sorted(classes, key=_place):
            lines += [f"#### {cls.__name__}", "", _doc(cls), "", *_members(cls)]
    lines += ["### Reading", ""]
    for name in cpt.READERS:
        function = getattr(cpt, name)
        lines += [f"```python\n{_signature(function)}\n```", "", _doc(function), ""]
    for cls in (RunReader, Records):
        lines += [f"#### {cls.__name__}", "", _doc(cls), "", *_members(cls)]
    for module in (module for module in PUBLIC if module not in (cpt, testing)):
        lines += [f"## {module.__name__}", "", _doc(module), "", *_module(module)]
    return "\n".join(lines)


def _is_in(cls: type[Any], module: ModuleType) -> bool:
    return f"{cls.__module__}.".startswith(f"{module.__name__}.")


def _place(cls: type[Any]) -> tuple[str, int]:
    """Where a class is defined, to sort by."""
    return cls.__module__, inspect.getsourcelines(cls)[1]


def api_note() -> None:
    """
    What a plugin may import. Bundled plugins import nothing else of cpt, and a test sees to it.
    `cpt.testing` has [a page of its own](testing.md).
    """


def public_names(module: ModuleType) -> list[str]:
    """What a module offers: its `__all__`, or the classes and functions that are defined in it."""
    own = (
        name
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", "") == module.__name__
    )
    return list(getattr(module, "__all__", own))


def _module(module: ModuleType) -> Iterator[str]:
    for name in public_names(module):
        thing = getattr(module, name)
        yield from (f"### {name}", "")
        if inspect.isclass(thing):
            yield from (_doc(thing), "", *_members(thing))
        elif callable(thing):
            yield from (f"```python\n{_signature(thing)}\n```", "", _doc(thing), "")
        else:
            yield from (_below(module, name), "")


def _below(module: ModuleType, name: str) -> str:
    """The string under a constant, wherever in the package of the module it is."""
    pattern = re.compile(rf'^{name}\b.*?^"""(.+?)"""$', re.MULTILINE | re.DOTALL)
    sources = Path(str(module.__file__)).parent.rglob("*.py")
    found = next(filter(None, (pattern.search(source.read_text()) for source in sources)))
    return inspect.cleandoc(found[1])


def kit() -> str:
    """Every promise of every contract, and what else a plugin's tests can use."""
    lines = ["# Contract kit", "", BY, "", _doc(testing), ""]
    contracts = [getattr(testing, name) for name in testing.__all__ if "Contract" in name]
    for cls in sorted(contracts, key=lambda cls: cls is not testing.ComponentContract):
        lines += [f"## {cls.__name__}", "", _doc(cls), "", *_promises(cls), ""]
    lines += ["## Fakes", ""]
    for name in (name for name in testing.__all__ if "Contract" not in name):
        thing = getattr(testing, name)
        shown = name if inspect.isclass(thing) else _signature(thing)
        lines += [f"```python\n{shown}\n```", "", _doc(thing), ""]
    fixture = plugin.cpt_cli
    return "\n".join([*lines, "## Fixtures", "", "### cpt_cli", "", _doc(fixture), ""])


ROOT = Path(__file__).parents[1]
REASONS = {
    "NoPair": (
        "Why a prompt gives no pair",
        "Counted by `cpt pair`, one by one in `outcomes.jsonl`; `layout` by `cpt export`.",
    ),
    "Drop": ("Why a filter drops a pair", "Counted under the filter's name."),
    "Missing": ("Why something has no value", "A score of a judge, a value of an evaluator."),
}
"""What carries a reason that is counted, with a heading and where it is counted."""


STATUSES = (
    ("0", "done"),
    (
        "1",
        "a condition is not met (`cpt gate`, `cpt plugins --check`); or, with one line, the run "
        "stopped early and the same command continues it; with a traceback, it is a bug",
    ),
    ("2", "wrong input: an option, a file, a model, a plugin; nothing is left half-written"),
    ("130", "interrupted: what was done is kept, and the same command continues it"),
)


def errors_page() -> str:
    """Exit statuses, classes of errors, and every word that is counted where something failed."""
    lines = ["# Errors", "", BY, "", _doc(errors_note), ""]
    lines += [*_rows("| exit status | |", STATUSES), "## Classes of errors", ""]
    lines += ["A component raises one of these; any other exception of it is a bug.", ""]
    for error in sorted(_all_errors(), key=_place):
        lines += [f"- `cpt.{error.__name__}`: {' '.join(_doc(error).split())}"]
    lines += ["", "## How a request to a model ends", ""]
    lines += _rows("| | |", _words(types.Outcome))
    for name, (title, where) in REASONS.items():
        rows = [(f"`{word}`", f"`{by}`", text) for word, by, text in sorted(_reasons(name))]
        lines += [f"## {title}", "", where, "", *_rows("| | by | what it says |", rows)]
    lines += ["## What can be wrong with pairs", "", _doc(kinds_note), ""]
    for word, kind in KINDS.items():
        dropped = "dropped" if kind.dropped else ""
        lines += [
            f"- `{word}` ({', '.join(filter(None, (kind.severity, dropped)))}): {kind.meaning}"
        ]
    return "\n".join(lines)


def errors_note() -> None:
    """
    A message is one line, `cpt: WHERE: WHAT; HOW TO FIX IT.` It says what to do, so this page is
    only for what a script or a plugin needs: the words, and where they are counted. In messages
    below, `...` is what was found.
    """


def kinds_note() -> None:
    """
    `cpt doctor` finds these. An error stops training unless `train.allow` names it; what is
    dropped is left out of training.
    """


def _all_errors() -> list[type[Exception]]:
    named = [getattr(cpt, name) for name in public_names(cpt)]
    return [one for one in named if inspect.isclass(one) and issubclass(one, Exception)]


def _reasons(called: str) -> set[tuple[str, str, str]]:
    """Every reason that the sources give in words: the word, by whom, and what it says."""
    found = set()
    for path in (*ROOT.glob("plugins/**/*.py"), *ROOT.glob("core/cpt/**/*.py")):
        by = path.relative_to(ROOT).parts[1]
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] == called:
                word, *rest = [_said(one) for one in call.args] or [""]
                if re.fullmatch(r"\w+", word):
                    found.add((word, by, _telling(rest[0]) if rest else ""))
    return found


def _said(text: ast.expr) -> str:
    """A text as it is written, with `...` for what is filled in."""
    if isinstance(text, ast.JoinedStr):
        return "".join(map(_said, text.values))
    return str(text.value) if isinstance(text, ast.Constant) else "..."


def _telling(text: str) -> str:
    """The text, if it has words of its own."""
    return text if re.search(r"\w", text) else ""


def _promises(cls: type[Any]) -> Iterator[str]:
    """The tests of a contract, one a line, then what its user may override."""
    for name, test in vars(cls).items():
        if name.startswith("test_"):
            yield f"- `{name}`: {_doc(test)}"
    for name, member in vars(cls).items():
        if inspect.isfunction(member) and _is_public(name, member) and "test_" not in name:
            yield from ("", f"```python\n{_signature(member)}\n```", "", _doc(member))


def _members(cls: type[Any]) -> Iterator[str]:
    if attrs.has(cls) and not issubclass(cls, cpt.Component):
        yield from _rows("| field | type | meaning |", _record(cls))
    yield from _rows("| set on the class | type | meaning |", _class_variables(cls))
    if issubclass(cls, Enum):
        yield from _rows("| | |", _words(cls))
    for name, member in vars(cls).items():
        function = member.fget if isinstance(member, property) else member
        if inspect.isfunction(function) and function.__doc__ and _is_public(name, function):
            shown = name if isinstance(member, property) else _signature(function)
            yield from (f"```python\n{shown}\n```", "", _doc(function), "")


def _record(cls: type[Any]) -> Iterator[tuple[str, ...]]:
    """The public fields of a record, their types as written."""
    for name, kind in inspect.get_annotations(cls).items():
        if not name.startswith("_") and not CLASS_VARIABLE.match(kind):
            yield f"`{name}`", f"`{kind}`", options.descriptions(cls).get(name, "")


def _class_variables(cls: type[Any]) -> Iterator[tuple[str, ...]]:
    """What a subclass says by an assignment in its body, with the string under each."""
    for name, kind in inspect.get_annotations(cls).items():
        said = CLASS_VARIABLE.match(str(kind))
        if said and (text := options.descriptions(cls).get(name)):
            yield f"`{name}`", f"`{said[1]}`", text


def _words(cls: type[Enum]) -> Iterator[tuple[str, ...]]:
    """The members of an enumeration, each with the string under it."""
    source = inspect.getsource(cls)
    for word, text in re.findall(r'^    [A-Z_]+ = "(\w+)"\n    """(.+)"""$', source, re.MULTILINE):
        yield f"`{word}`", text


def _is_public(name: str, function: Callable[..., Any]) -> bool:
    written = "<attrs generated" not in function.__code__.co_filename
    return written and (not name.startswith("_") or name == "__call__")


def _table(cls: type[Any], under: str) -> Iterator[str]:
    """The options of a class, one a row."""
    return _rows(OPTIONS, (_option(row, under) for row in options.schema(cls)))


def _option(row: Mapping[str, Any], under: str) -> tuple[str, ...]:
    default = "must be given" if row["required"] else f"`{_plain(row['default'])}`"
    return f"`{under}{row['name']}`", f"`{row['type']}`", default, row["help"]


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
        ("errors", errors_page()),
    ):
        yield REFERENCE / f"{name}.md", text.rstrip() + "\n"
    yield LLMS, llms_txt()


def llms_txt() -> str:
    """The list of pages for a language model that is asked about cpt: https://llmstxt.org."""
    listed = (REFERENCE.parent / "README.md").read_text().partition("\n## ")[2]
    about = (REFERENCE.parent.parent / "README.md").read_text().split("\n\n")[1]
    return f"# cpt\n\n> {' '.join(about.split())}\n\n## {listed}"


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text)
