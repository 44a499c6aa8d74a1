"""Reading a reviser's completion."""

from __future__ import annotations

import re

import attrs

from cpt import NoPair


@attrs.frozen
class Revision:
    """What a reviser said."""

    solution: str
    reasoning: str


def _marker(name: str) -> re.Pattern[str]:
    """An identifier at the start of a line, in braces, bold, as a heading, with a colon or not.

    Without braces it must be followed by a colon or the end of the line: `Corrected student
    solution` may also begin a sentence.
    """
    words = name.replace("_", r"(?:\\?_|[ ])")
    return re.compile(
        rf"""
        ^[ \t]* (?:\#{{1,6}}[ \t]*)? (?P<bold>[*_`]*)
        (?:
            \{{[ ]*{words}[ ]*\}} (?: (?P=bold)[ \t]*:? | [ \t]*:[ \t]*(?P=bold) )
          | {words} (?: (?P=bold)[ \t]*: | [ \t]*:[ \t]*(?P=bold) | (?P=bold)[ \t]*$ )
        )
        """,
        re.IGNORECASE | re.MULTILINE | re.VERBOSE,
    )


REASONING = _marker("teacher_reasoning")
SOLUTION = _marker("(?:corrected|worsened)_student_solution")
FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<kind>\w*)[ \t]*\n(?P<inside>.*)\n(?P=ticks)$", re.DOTALL)
PROSE = ("", "markdown", "md", "plaintext", "text", "txt")


def parse(completion: str) -> Revision:
    """The reasoning and the solution of a completion.

    The last identifier of the solution counts: the reasoning may speak of it. Raises `NoPair` with
    the reason `no_identifiers` or `empty`.
    """
    text = _without_outer_fence(completion.strip())
    marks = list(SOLUTION.finditer(text))
    if not marks:
        raise NoPair("no_identifiers", "no corrected_student_solution", completion)
    before, solution = text[: marks[-1].start()], text[marks[-1].end() :].strip()
    if REASONING.search(solution):
        raise NoPair("no_identifiers", "the reasoning comes after the solution", completion)
    if not solution:
        raise NoPair("empty", "nothing follows corrected_student_solution", completion)
    reasoning = REASONING.search(before)
    return Revision(solution, before[reasoning.end() if reasoning else 0 :].strip())


def unfenced(solution: str) -> str:
    """A solution without the fence around all of it, where the fence says nothing of its kind."""
    fence = FENCE.match(solution)
    if not fence or fence["kind"].lower() not in PROSE or fence["ticks"] in fence["inside"]:
        return solution
    return fence["inside"].strip()


def _without_outer_fence(text: str) -> str:
    """A completion that was put between fences, identifiers and all, taken out of them."""
    fence = FENCE.match(text)
    if not fence or not (REASONING.match(fence["inside"]) or SOLUTION.match(fence["inside"])):
        return text
    inner = re.findall(rf"^{fence['ticks']}", fence["inside"], re.MULTILINE)
    return fence["inside"] if len(inner) % 2 == 0 else text
