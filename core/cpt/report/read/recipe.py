"""How to do a run again: its options, and what they met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import yaml

from cpt.config import flatten
from cpt.report.read.files import HIDDEN

Part = tuple[str, str, tuple[Any, ...]]
"""What it is for, its name with its settings, and the parts within it."""


@attrs.frozen(kw_only=True)
class Recipe:
    """All that decides a run."""

    yaml: str
    """The options, as `--config` reads them."""
    commands: tuple[str, ...]
    """What walks as far as the run did, with the options in `options.yaml`."""
    hides: bool
    """Whether something in them had to be hidden."""
    versions: Mapping[str, str]
    digests: tuple[tuple[str, str, str], ...]
    """Address of an option or name of a file of the run, what the option says, digest."""
    code: tuple[tuple[str, str], ...]
    """Address of a component that did not come with cpt, and the code that it came from."""
    parts: tuple[Part, ...]
    """The method in short."""


PARTS = {
    "pairs": ("prompts", "limit", "pairer", "pairs"),
    "model": ("model", "loss", "scheduler", "train", "seed"),
    "scores": ("eval_prompts", "eval_limit", "evaluators", "generator"),
    "controls": ("controls",),
}
"""What the stages were made from, in the order in which a reader asks for it."""
LABELS = {
    "eval_prompts": "prompts held out",
    "generator": "answers of a measured model",
    "pairs": "pairs taken from",
    "train": "training",
}


def recipe_of(record: Mapping[str, Any]) -> Recipe:
    """The recipe of a run from its record, which holds no secret any more."""
    options, stages = record["options"], record["stages"]
    made = made_from(stages)
    text = yaml.safe_dump(options, sort_keys=False, allow_unicode=True, width=100)
    return Recipe(
        yaml=text,
        commands=tuple(f"{command} --config options.yaml --output DIR" for command in _walk(made)),
        hides=HIDDEN in text,
        versions=record.get("versions", {}),
        digests=tuple(_digests(made, stages)),
        code=tuple(_code(stages)),
        parts=tuple(_parts(made)),
    )


def made_from(stages: Mapping[str, Any]) -> dict[str, Any]:
    """The options that the stages were made with, which later commands cannot change."""
    found: dict[str, Any] = {}
    for stage in stages.values():
        found |= stage["options"]
    return found


def _walk(made: Mapping[str, Any]) -> list[str]:
    """The commands that make what these options decide."""
    if "evaluators" in made:
        return ["cpt"]
    pair = ["cpt pair"] if "prompts" in made else []
    return [*pair, "cpt train"] if "model" in made else pair


def _digests(made: Mapping[str, Any], stages: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    # Runs of earlier versions have them among the options.
    old = {name: value for name, value in made.items() if name.endswith("_digest")}
    found = {name.removesuffix("_digest"): value for name, value in old.items()}
    for stage in stages.values():
        found |= stage.get("content", {})
    for address, digest in found.items():
        yield address, _at(made, address), str(digest)


def _at(options: Any, address: str) -> str:
    """The text at an address, `""` if it is the name of a file of the run."""
    step, _, rest = address.partition(".")
    if isinstance(options, list) and step.isdigit():
        options = dict(enumerate(options)).get(int(step))
    else:
        options = options.get(step) if isinstance(options, Mapping) else None
    return _at(options, rest) if rest else str(options or "")


def _code(stages: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    found: dict[str, str] = {}
    for stage in stages.values():
        found |= stage.get("code", {})
    for address, code in found.items():
        yield address, str(code)


def _parts(made: Mapping[str, Any]) -> Iterator[Part]:
    for names in PARTS.values():
        for name in names:
            if made.get(name) not in (None, "", [], {}):
                yield _part(LABELS.get(name, name), made[name])


def _part(label: str, value: Any) -> Part:
    if isinstance(value, Mapping):
        plain = {key: inner for key, inner in value.items() if not _is_deep(inner)}
        deep = [(key, inner) for key, inner in value.items() if _is_deep(inner)]
        inside = tuple(_part(key, inner) for key, inner in deep)
        return label, _settings(plain), inside
    if isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        numbered = len(value) > 1
        return (
            label,
            "",
            tuple(
                _part(f"{at}" if numbered else "", each) for at, each in enumerate(value, start=1)
            ),
        )
    return label, _spelt(value), ()


def _is_deep(value: Any) -> bool:
    many = isinstance(value, list) and any(isinstance(each, Mapping) for each in value)
    return many or (isinstance(value, Mapping) and bool(value))


def _settings(options: Mapping[str, Any]) -> str:
    """`dpo (beta 0.1)`, less what is empty, off, or left to the machine."""
    name = str(options.get("name", ""))
    said = [
        f"{key} {_spelt(value)}"
        for key, value in options.items()
        if key != "name" and value not in (None, "", [], {}, False, "auto")
    ]
    if not name:
        return ", ".join(said)
    return f"{name} ({', '.join(said)})" if said else name


def _spelt(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {each}" for key, each in flatten(value))
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
