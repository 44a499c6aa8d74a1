"""A function of the user's as a judge."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import isawaitable
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs

import cpt
from cpt import paths

Check = Callable[[cpt.Prompt, cpt.Response], Any | Awaitable[Any]]


@attrs.frozen
class Checker(cpt.Judge):
    """A Python function of yours that scores one answer: a test, a parser, a calculation.

    It is called with the `cpt.Prompt` (`text`, and other columns of its row in `info`) and the
    `cpt.Response` (`text`), and returns a number, True or False, or None for no score. It may be
    async. If it raises an exception, that answer has no score, with the exception as the reason.
    """

    name = "checker"
    function: str = attrs.field(metadata=cpt.PATH)
    """Which: `FILE.py:FUNCTION`, or `MODULE:FUNCTION` of an installed module."""

    def check(self) -> None:
        load(self.function)

    async def judge(
        self, prompt: cpt.Prompt, responses: Sequence[cpt.Response], ask: cpt.Ask
    ) -> cpt.Verdict:
        function = load(self.function)
        found = [await self._score(function, prompt, response) for response in responses]
        return cpt.Verdict(
            scores=tuple(None if isinstance(one, cpt.Missing) else one for one in found),
            missing=tuple(one if isinstance(one, cpt.Missing) else None for one in found),
        )

    async def _score(
        self, function: Check, prompt: cpt.Prompt, response: cpt.Response
    ) -> float | cpt.Missing:
        try:
            score = function(prompt, response)
            score = await score if isawaitable(score) else score
        except Exception as error:  # anyone's code, and one answer must not end the run
            return cpt.Missing("error", f"{self.function}: {type(error).__name__}: {error}")
        if score is None:
            return cpt.Missing("no_score", f"{self.function} returned None")
        if (number := _number(score)) is None:
            raise cpt.CptError(
                f"{self.function} returned {score!r:.60} for prompt {prompt.id!r}; it must return "
                "a finite number, True, False, or None for no score."
            )
        return number


def _number(score: Any) -> float | None:
    """A finite number, of Python or of another library (NumPy); None for anything else."""
    if isinstance(score, str | bytes) or not hasattr(score, "__float__"):
        return None
    try:
        number = float(score)
    except (TypeError, ValueError, OverflowError):  # an array, or larger than a float can be
        return None
    return number if isfinite(number) else None


@lru_cache
def load(text: str) -> Check:
    """The function that a text names. Raises `CptError`."""
    place, name = paths.split_function(text)
    if not name or not place:
        raise cpt.CptError(f"{text}: expected FILE.py:FUNCTION or MODULE:FUNCTION.")
    try:
        module = _from_file(Path(place)) if place.endswith(".py") else import_module(place)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise cpt.CptError(f"{text}: {place} cannot be imported ({why}).") from error
    function = getattr(module, name, None)
    if not callable(function):
        there = ", ".join(sorted(vars(module).keys() & _functions(module))) or "none"
        raise cpt.CptError(f"{text}: {place} has no function {name!r}; its functions: {there}.")
    return function  # type: ignore[no-any-return]


def _from_file(path: Path) -> ModuleType:
    """The module in a file, under a name that no other module has."""
    name = f"cpt_checker_{path.stem}"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError("no such file")
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _functions(module: ModuleType) -> set[str]:
    own = vars(module).items()
    return {name for name, value in own if getattr(value, "__module__", "") == module.__name__}
