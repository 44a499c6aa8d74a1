"""Reading which of two answers a judge prefers, in the ways that judges say it.

Every function gives the probability that the answer shown first is the better one: 1, 0, or 0.5 for
a tie; None where that cannot be read for certain.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from math import exp
from typing import Any

import attrs

from cpt_judges.reading import MARKUP, WIDE, without_thoughts

Labels = tuple[str, str]
"""What the answers shown first and second are called."""

TIES = ("tie", "tied", "draw", "equal", "both", "neither", "same")
KEYS = ("verdict", "winner", "better", "preferred", "preference", "choice", "decision")
"""Where a judge that writes JSON says which is better."""
RANKINGS = ("ordered_models", "ranking", "ranks", "ranked")
NAMES = ("model", "answer", "response", "output", "name", "id", "label")
BEFORE = r"(?:(?:the|answer|response|assistant|output|model|option|candidate)\s{1,9}){0,2}"
"""What a label may be called before it is named."""
BLANK = r"\s{0,9}"
WRAP = r"""[\s"'(\[{<]{0,9}+"""
UNWRAP = r"""[\s"')\]}>.!]{0,9}+"""
END = 2000
"""Characters at either end of a text that are searched for a verdict."""
LONGEST_VERDICT = 80
"""Characters of a verdict itself."""
MOST_BRACES = 100
"""Opening braces of a text that are tried as the begin of JSON."""


@attrs.frozen
class Mass:
    """How a judge's first token is spread over the two labels."""

    first: float
    """Its share for the first label, of that for both."""
    total: float
    """The probability of either."""


def read_logprobs(tokens: Sequence[Sequence[Any]], labels: Labels) -> Mass | None:
    """The probabilities of two labels as the one token of an answer; None if neither is there.

    `tokens` are (token, log-probability), the likeliest of one place. A label that is not among
    them has the probability 0, as AlpacaEval 2 has it (arXiv 2404.04475, `weighted` annotators).
    Of what a service says, no probability is above 1.
    """
    found = [
        sum(exp(min(0.0, logprob)) for token, logprob in tokens if token.strip() == label)
        for label in labels
    ]
    total = sum(found)
    return Mass(found[0] / total, min(1.0, total)) if total > 0 else None


def read_verdict(text: str, labels: Labels) -> float | None:
    """Which answer a text prefers: JSON, `[[A]]`, `[[A>B]]`, `Verdict: A`, or a bare `A`."""
    said = without_thoughts(text.translate(WIDE)).strip()
    if said.lstrip("`json \n").startswith("{"):
        return _in_json(said, labels)
    plain = MARKUP.sub("", _ends(said))
    for expression in _expressions(labels):
        if found := list(expression.finditer(plain)):
            return _last(plain, found, labels)
    return _in_json(said, labels)


def _in_json(text: str, labels: Labels) -> float | None:
    """The verdict of the last JSON object that has one."""
    found = [_read_object(given, labels) for given in json_objects(text)]
    return next((verdict for verdict in reversed(found) if verdict is not None), None)


def _ends(text: str) -> str:
    """The begin and the end of a text: a verdict is there."""
    return text if len(text) <= 2 * END else f"{text[:END]}\n\n{text[-END:]}"


def _last(text: str, found: Sequence[re.Match[str]], labels: Labels) -> float | None:
    """The last verdict; None if its line has another one as well."""
    line = text.rfind("\n", 0, found[-1].start()) + 1
    said = {_meaning(match["verdict"], labels) for match in found if match.start() >= line}
    return said.pop() if len(said) == 1 else None


def read_ranking(ranked: Any, labels: Labels) -> float | None:
    """Which answer a ranking puts first, as a list of {model, rank} or of labels, best first.

    Of equal ranks the one listed first counts, as AlpacaEval reads it.
    """
    names = [_ranked(item, place) for place, item in enumerate(ranked)]
    known = [one for one in names if one is not None]
    if len(known) < len(names) or not known:
        return None
    return _meaning(str(min(known, key=lambda one: one[0])[1]), labels)


def _ranked(item: Any, place: int) -> tuple[float, Any] | None:
    """The rank and the label of one item of a ranking; None if it has none."""
    if isinstance(item, str):
        return place, item
    if not isinstance(item, Mapping):
        return None
    name = next((item[key] for key in NAMES if key in item), None)
    rank = item.get("rank")
    if name is None or isinstance(rank, bool) or not isinstance(rank, int | float):
        return None
    return rank, name


def json_objects(text: str) -> Iterator[Mapping[str, Any]]:
    """The JSON objects in a text, outermost only."""
    decoder, place = json.JSONDecoder(), text.find("{")
    for _ in range(MOST_BRACES):
        if place < 0:
            return
        try:
            found, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = place + 1
        else:
            yield found
        place = text.find("{", end)


def _read_object(given: Mapping[str, Any], labels: Labels) -> float | None:
    lowered = {str(key).lower(): value for key, value in given.items()}
    ranking = next((lowered[key] for key in RANKINGS if key in lowered), None)
    if isinstance(ranking, list):
        return read_ranking(ranking, labels)
    said = next((lowered[key] for key in KEYS if key in lowered), None)
    return _meaning(said, labels) if isinstance(said, str) else None


def _meaning(said: str, labels: Labels) -> float | None:
    """What a verdict means: `A`, `A>B`, `B>>A`, `A=B`, `tie`."""
    if len(said) > LONGEST_VERDICT:
        return None
    word = re.sub(rf"^{WRAP}{BEFORE}{WRAP}", "", said, flags=re.IGNORECASE)
    word = re.sub(rf"{UNWRAP}$", "", word)
    better, *compared = re.split(r"\s*([<>=]+)\s*", word, maxsplit=1)
    one = _place(better, labels)
    if compared:
        sign, two = compared[0], _place(compared[1], labels)
        if one is None or two is None or one == two:
            return None
        return 0.5 if "=" in sign else float((one == 0) == (">" in sign))
    if one is not None:
        return float(one == 0)
    return 0.5 if _is_tie(word, labels) else None


def _place(word: str, labels: Labels) -> int | None:
    """Which label a word is, whatever its case where that does not tell them apart."""
    fold = labels[0].lower() != labels[1].lower()
    names = [label.lower() if fold else label for label in labels]
    word = word.strip().lower() if fold else word.strip()
    return names.index(word) if word in names else None


def _is_tie(word: str, labels: Labels) -> bool:
    return word.lower() in TIES or (labels == ("A", "B") and word.upper() == "C")


@lru_cache
def _expressions(labels: Labels) -> tuple[re.Pattern[str], ...]:
    """How a verdict is written in a text, the surest way first."""
    either = "|".join(map(re.escape, labels))
    fold = labels[0].lower() != labels[1].lower()
    one = rf"(?:{either})" if not fold else rf"(?i:{either})"
    more = r"|[Cc]" if labels == ("A", "B") else ""
    ties = "|".join(TIES)
    verdict = rf"(?P<verdict>{one}{BLANK}[<>=]+{BLANK}{one}|{one}{more}|(?i:{ties}))"
    named = r"(?i:verdict|winner|better|preferred|preference|choice|decision|judge?ment|answer)"
    whole = r"(?i:final|answer|response|option|one|is)"
    named = rf"(?<!\w){named}(?:\s{{1,9}}{whole})?{BLANK}(?:[:=]|(?i:is))"
    labelled = rf"{named}{WRAP}(?i:{BEFORE}){WRAP}"
    boxed = rf"\\boxed\{{(?:\\text\{{)?{BLANK}"
    return (
        re.compile(rf"\[\[{BLANK}{verdict}{BLANK}\]\]"),
        re.compile(rf"{boxed}{verdict}{BLANK}\}}"),
        re.compile(rf"{labelled}{verdict}(?!\w){UNWRAP}(?=\n|$)"),
        re.compile(rf"\A{WRAP}(?i:{BEFORE}){WRAP}{verdict}(?!\w){UNWRAP}\Z"),
    )
