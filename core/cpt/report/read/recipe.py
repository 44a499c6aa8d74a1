"""What another run needs to give the same result: options, versions, digests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import yaml

from cpt.config import flatten
from cpt.report.read.files import HIDDEN
from cpt.run.pipeline import STAGES


@attrs.frozen
class Setting:
    """One option with its value in words, and the components inside it."""

    label: str
    value: str
    inside: tuple[Setting, ...] = ()


@attrs.frozen(kw_only=True)
class Recipe:
    """All that decides a run."""

    yaml: str
    """The options, as `--config` reads them."""
    commands: tuple[str, ...]
    """The commands that run the same stages, with the options in `options.yaml`."""
    hides: bool
    """Whether a secret in the options was replaced."""
    versions: Mapping[str, str]
    digests: tuple[tuple[str, str, str], ...]
    """Address of an option or name of a file of the run, value of the option, digest."""
    code: tuple[tuple[str, str], ...]
    """Address of a component that is not part of cpt, and the code that defines it."""
    method: tuple[Setting, ...]
    """The options that decide the method, in the order in which they are used."""


PARTS = dict.fromkeys(name for stage in STAGES for name in stage.options)
"""The options that decide what the stages make, in the order of the stages."""
LABELS = {
    "eval_prompts": "prompts held out",
    "generator": "answers of a measured model",
    "pairs": "pairs taken from",
    "train": "training",
}


def recipe_of(record: Mapping[str, Any]) -> Recipe:
    """The recipe of a run from its record, without secrets."""
    options, stages = record["options"], record["stages"]
    made = stage_options(stages)
    text = yaml.safe_dump(options, sort_keys=False, allow_unicode=True, width=100)
    return Recipe(
        yaml=text,
        commands=tuple(
            f"{command} --config options.yaml --output DIR" for command in _commands(made)
        ),
        hides=HIDDEN in text,
        versions=record.get("versions", {}),
        digests=tuple(_digests(made, stages)),
        code=tuple(_code(stages)),
        method=tuple(_method(made)),
    )


def stage_options(stages: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the stages were made with, which later commands cannot change."""
    found: dict[str, Any] = {}
    for stage in stages.values():
        found |= stage["options"]
    return found


def _commands(made: Mapping[str, Any]) -> list[str]:
    """The commands that run the stages of these options."""
    if "evaluators" in made:
        return ["cpt"]
    pair = ["cpt pair"] if "prompts" in made or "model" not in made else []
    return [*pair, "cpt train"] if "model" in made else pair


def _digests(made: Mapping[str, Any], stages: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    found: dict[str, str] = {}
    for stage in stages.values():
        found |= stage.get("content", {})
    for address, digest in found.items():
        yield address, _option_at(made, address), str(digest)


def _option_at(options: Any, address: str) -> str:
    """The value of the option at an address, `""` if there is none."""
    step, _, rest = address.partition(".")
    if isinstance(options, list) and step.isdigit():
        options = dict(enumerate(options)).get(int(step))
    else:
        options = options.get(step) if isinstance(options, Mapping) else None
    return _option_at(options, rest) if rest else str(options or "")


def _code(stages: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    found: dict[str, str] = {}
    for stage in stages.values():
        found |= stage.get("code", {})
    for address, code in found.items():
        yield address, str(code)


def _method(made: Mapping[str, Any]) -> Iterator[Setting]:
    for name in PARTS:
        if made.get(name) not in (None, "", [], {}):
            yield _entry(LABELS.get(name, name), made[name])


def _entry(label: str, value: Any) -> Setting:
    if isinstance(value, Mapping):
        plain = {key: inner for key, inner in value.items() if not _has_components(inner)}
        inside = [(key, inner) for key, inner in value.items() if _has_components(inner)]
        return Setting(label, _settings(plain), tuple(_entry(key, inner) for key, inner in inside))
    if _is_list_of_components(value):
        labels = map(str, range(1, len(value) + 1)) if len(value) > 1 else [""]
        return Setting(label, "", tuple(map(_entry, labels, value)))
    return Setting(label, _in_words(value))


def _is_list_of_components(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) for item in value)


def _has_components(value: Any) -> bool:
    return _is_list_of_components(value) or (isinstance(value, Mapping) and bool(value))


def _settings(options: Mapping[str, Any]) -> str:
    """`dpo (beta 0.1)`, without options that are empty, off or `auto`."""
    name = str(options.get("name", ""))
    settings = [
        f"{key} {_in_words(value)}"
        for key, value in options.items()
        if key != "name" and value not in (None, "", [], {}, False, "auto")
    ]
    if not name:
        return ", ".join(settings)
    return f"{name} ({', '.join(settings)})" if settings else name


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {inner}" for key, inner in flatten(value))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
