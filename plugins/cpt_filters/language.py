"""Pairs in another language than was meant."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any

import attrs
from attrs.validators import ge, min_len

import cpt
from cpt_filters import texts

CODE = re.compile(r"```.*?(```|\Z)|`[^`\n]*`", re.DOTALL)
READ = 1000
"""Characters of a text that are looked at: more say no more, and take longer."""


@attrs.frozen
class Language(cpt.Filter):
    """Keeps pairs in certain languages, as langdetect detects them.

    Code between backticks is left aside. A text that is too short to tell, or has no letters,
    counts as right.
    """

    name = "language"
    expected: tuple[str, ...] = attrs.field(validator=min_len(1))
    """Codes of the languages, as in ISO 639-1: `en`, `de`, `zh-cn`; repeat it for several."""
    prompts: bool = False
    """Look at the prompts too, not at the answers alone."""
    shortest: int = attrs.field(default=40, validator=ge(1))
    """Characters from which a text is looked at; short ones are often taken for another."""

    def check(self) -> None:
        known = _languages()
        for code in self.expected:
            if code not in known:
                there = ", ".join(sorted(known))
                raise cpt.CptError(f"filters: language {code!r} is unknown; there are: {there}.")

    def filter(self, pairs: Iterable[cpt.Pair]) -> Iterator[cpt.Pair | cpt.Drop]:
        detect = lru_cache(4096)(_detector())
        for pair in pairs:
            yield self._drop(pair, detect) or pair

    def _drop(self, pair: cpt.Pair, detect: Callable[[str], str]) -> cpt.Drop | None:
        asked = {"prompt": texts.asked(pair.prompt)} if self.prompts else {}
        parts = {**asked, "chosen": pair.chosen.text, "rejected": pair.rejected.text}
        for where, text in parts.items():
            prose = CODE.sub(" ", text).strip()[:READ]
            found = detect(prose) if len(prose) >= self.shortest else ""
            if found and found not in self.expected:
                return cpt.Drop(where, f"is {found!r}")
        return None


def _languages() -> set[str]:
    return set(_factory().get_lang_list())


@lru_cache(maxsize=1)
def _factory() -> Any:
    """A factory of detectors of our own: the library's has its seed for the whole process."""
    module = texts.optional("langdetect.detector_factory")
    factory = module.DetectorFactory()
    factory.load_profile(module.PROFILES_DIRECTORY)
    factory.seed = 0
    return factory


def _detector() -> Callable[[str], str]:
    from langdetect.lang_detect_exception import LangDetectException

    factory = _factory()

    def detect(text: str) -> str:
        detector = factory.create()
        detector.append(text)
        try:
            found: str = detector.detect()
        except LangDetectException:  # it has no letters
            return ""
        return "" if found == detector.UNKNOWN_LANG else found

    return detect
