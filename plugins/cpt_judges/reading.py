"""Reading the score that a judge wrote, in the ways that judges write it.

A text gives the score of its last label (`Score: 8`, `"score": 8`, `<score>8</score>`,
`| Score | 8 |`). What could mean two things (`7-8`, `8+`), is off the scale or is of another scale
(`85/100`) gives none; neither does a number in a thought.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

import attrs

WIDE = {0xFF01 + offset: 0x21 + offset for offset in range(94)} | {0x3000: 0x20}
"""Full-width forms of ASCII characters."""
THINKING = r"(?:think|thinking|thoughts?|reasoning|reflection|scratchpad)"
BEGIN_OR_END = re.compile(
    rf"(?P<begin><(?:\w+:)?{THINKING}\b[^<>]*>|\[THINK\]|◁think▷"
    r"|<\|(?:begin_of_thought|start_thinking|inner_prefix)\|>)"
    rf"|</(?:\w+:)?{THINKING}\s*>|\[/THINK\]|◁/think▷"
    r"|<\|(?:end_of_thought|end_thinking|inner_suffix)\|>",
    re.IGNORECASE,
)
FINAL = "<|channel|>final<|message|>"
"""Begins what is no thought in the format of gpt-oss."""
MARKUP = re.compile(r"\*+|`+|__|(?<=\W)_|_(?=\W)")
TABLE = re.compile(
    r"^\|(?P<head>.*)\|[ ]*\n\|[-:| ]+\|[ ]*\n\|(?P<row>.*)\|[ ]*$(?!\n\|)", re.MULTILINE
)

LABELS = ("score", "rating", "grade")
"""In this order: a text that has the first is not searched for the others."""
LABEL = re.compile(rf"(?<![^\W_])(?:{'|'.join(LABELS)})(?![^\W_])", re.IGNORECASE)
OBJECT = re.compile(r"(?:^\s*|```\w*\s*)(\{.*\})(?:\s*```|\s*$)", re.DOTALL)
"""A JSON object that is all of a text, or in a fence."""
LONGEST_VALUE = 12
"""Characters of a value that may be a score: `8.5 of 10`."""
OWN = re.compile(
    "a|and|answer|assign|award|be|d|final|give|hence|i|is|it|ll|my|overall|resulting|so|the|this|"
    "thus|therefore|total|will|with|would|your"
)
"""Words before a label that do not make it the score of something else."""
OTHER = re.compile(
    "another|best|better|but|can|cannot|could|example|highest|if|ideal|lowest|max|maximum|min|"
    "minimum|never|no|not|perfect|possible|previous|should|t|without|worst"
)
"""Words before a label that make it no score of this answer."""
PART = 3
"""Most words before the label of a part (`Overall clarity score`)."""
NAMED = (
    r"answer|assigned|awarded|between|for|from|given|i|give|is|of|on|out|overall|range|response|"
    r"scale|the|this|value|a|an|to|it"
)
MORE = rf"""(?P<more>(?:
    [ ]?\([^()\n]*\)                     # (1-10)
    | [ ]+of[ ]+[0-9]+                   # out of 10
    | [ ]+[0-9]+[ ]*(?:-|\u2013|to)[ ]*[0-9]+ # from 1 to 10
    | [ ]+(?:{NAMED})\b
){{0,12}}?)"""
SIGN = r"""[\\"'\])]*[ ]*(?P<sign>[:=]>?|\||\]|>|→|(?<=[ ])[-\u2013\u2014]>?(?=[ ])|[ ]*(?=\n))"""
WEAK = r"[ ]+(?:is|of)(?=[ ])"
WRAP = r"""(?:[\s"'(\[{<$]|\\(?:boxed|text|textbf|mathbf)\b|\\[(\[])*+"""
UNWRAP = r"""(?:[ "')\]}>$]|\\[)\]])*+"""
NUMBER = r"[0-9]+(?:\.[0-9]+|,[0-9]{1,2})?"
OF = r"(?:/|\(?(?:out[ ])?of(?:[ ]an?[ ](?:possible|maximum|total)(?:[ ]of)?)?(?=\W))"
GOES_ON = r"""(?![^\W_]|[.,][0-9])"""  # 8th, 8.5.1
UNSURE = r"""(?![ ]*[%+±~^½¼¾] | [ ]+[0-9½¼¾]           # 8+, 8 1/2
    | [ ]*(?:[-\u2013\u2014~→,;|&]|->|=>|to\b|or\b|and\b)[ ]*[0-9]  # 7-8, 7 or 8
)"""
VALUE = rf"""(?P<wrap>{WRAP})(?P<number>{NUMBER}){GOES_ON}{UNSURE}{UNWRAP}
    (?:{OF}{WRAP}(?P<best>{NUMBER}){GOES_ON}{UNSURE}{UNWRAP})?+
    (?![ ]*/[ ]*[0-9]){UNSURE}(?P<rest>[^\n]*)"""
LONGEST = 240
"""Characters before and after a label that are looked at."""

FLAGS = re.IGNORECASE | re.VERBOSE
LABELLED = re.compile(MORE + SIGN, FLAGS)
SAID = re.compile(MORE + WEAK, FLAGS)
GIVEN = re.compile(VALUE, FLAGS)
SENTENCE_ENDS = re.compile(r"\s*(?:$|[.,;:!)]|because\b|since\b)")


@attrs.frozen
class Found:
    """A label with what follows it."""

    score: float | None
    """None if it cannot be read, or is not on the scale."""
    is_part: bool
    """Whether it is called the score of something: `Clarity score`."""


def read_score(text: str, scale: int) -> float | None:
    """The score that a text gives, from 1 to `scale`; None if it gives none for certain."""
    plain = _plain(_own_lines(text))
    for label in LABELS:
        if found := list(_found(plain, label, scale)):
            return _decided(found)
    return None


def read_criteria(text: str, scale: int, names: Sequence[str]) -> dict[str, float | None]:
    """The score of each criterion that a text names (`Clarity: 7`), as `read_score` reads it."""
    plain = _plain(text)
    found = {name: list(_found(plain, name, scale)) for name in names}
    return {name: _decided(scores) for name, scores in found.items()}


def _own_lines(text: str) -> str:
    """The numbers and short texts of a JSON object as lines, if it names a score; else the text.

    What else it says may speak of other scores: `{"score": 8, "reason": "not a score: 3"}`.
    """
    found = OBJECT.search(without_thoughts(text.translate(WIDE)))
    try:
        said = json.loads(found[1]) if found else None
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or not any(LABEL.search(name) for name in said):
        return text
    short = {name: value for name, value in said.items() if len(str(value)) <= LONGEST_VALUE}
    return "\n".join(f"{name}: {value}" for name, value in short.items())


def _plain(text: str) -> str:
    """A text without thoughts and markup."""
    return _flat(MARKUP.sub("", without_thoughts(text.translate(WIDE))))


def without_thoughts(text: str) -> str:
    """What a text says outside its thoughts, of which one may have lost its beginning or end."""
    if "<|channel|>" in text:
        text = text.rpartition(FINAL)[2] if FINAL in text else ""
    kept: list[str] = []
    depth = start = 0
    for tag in BEGIN_OR_END.finditer(text):
        if tag["begin"]:
            kept += [text[start : tag.start()]] if not depth else []
            depth += 1
        elif depth:
            depth -= 1
        else:
            kept.clear()
        start = tag.end()
    return "".join(kept) + ("" if depth else text[start:])


def _decided(found: Sequence[Found]) -> float | None:
    """That of the last label; those of parts only where all say the same."""
    whole = [one.score for one in found if not one.is_part]
    if whole:
        return whole[-1]
    parts = {one.score for one in found}
    return parts.pop() if len(parts) == 1 else None


def _found(text: str, label: str, scale: int) -> Iterator[Found]:
    for match in re.finditer(rf"(?<![^\W_]){re.escape(label)}(?![^\W_])", text, re.IGNORECASE):
        line = text[max(0, match.start() - LONGEST) : match.start()].rpartition("\n")[2]
        if re.search(r"[<\[]/[\w-]*$", line):
            continue  # the closing tag
        words = _words(re.split(r"""[|<\[{}()".;:!?,]""", line)[-1])
        named = [word for word in words if not OWN.fullmatch(word)]
        if len(named) > PART or any(map(OTHER.fullmatch, words)):
            continue
        readable, score = _read(text[match.end() : match.end() + LONGEST], scale)
        if readable and not (named and score is None):
            yield Found(score, bool(named))


def _read(after: str, scale: int) -> tuple[bool, float | None]:
    """Whether there is a score after a label, and which; None if it cannot be read."""
    labelled = LABELLED.match(after)
    if labelled:
        given = GIVEN.match(after, labelled.end())
        if given and _is_alone(given):
            return True, _on_scale(given, scale)
        if not labelled["more"] and labelled["sign"].strip() in (":", "=", "|"):
            return True, None
    said = SAID.match(after)
    given = GIVEN.match(after, said.end()) if said else None
    if given and "\n" not in given["wrap"] and SENTENCE_ENDS.match(given["rest"]):
        return True, _on_scale(given, scale)
    return False, None


def _is_alone(given: re.Match[str]) -> bool:
    """Whether the number is in the line of its label, or has a line of its own."""
    return "\n" not in given["wrap"] or not given["rest"].strip(" .|")


def _on_scale(given: re.Match[str], scale: int) -> float | None:
    score = float(given["number"].replace(",", "."))
    best = given["best"]
    fits = 1 <= score <= scale and (best is None or float(best.replace(",", ".")) == scale)
    return score if fits else None


def _words(text: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[^\W\d_]+", text)]


def _flat(text: str) -> str:
    """Tables of a head and one row as lines: `head: cell`."""
    return TABLE.sub(_lines_of, text)


def _lines_of(table: re.Match[str]) -> str:
    heads, cells = (table[name].split("|") for name in ("head", "row"))
    return "\n".join(
        f"{head.strip()}: {cell.strip()}" for head, cell in zip(heads, cells, strict=False)
    )
