"""What can be wrong with one pair, as its texts show it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import attrs

from cpt.contrast import Contrast
from cpt.training.data.checks.cuts import cut_side
from cpt.training.data.checks.scripts import script_of
from cpt.training.data.checks.words import (
    ABOUT_REVISION,
    ABOUT_TALK,
    ABOUT_TEMPLATE,
    BROKEN,
    CODE,
    CONTROL,
    CONTROL_CHARACTER,
    ENTITY,
    MARKERS,
    MARKUP,
    MEDIA,
    PLACEHOLDER,
    REFUSAL,
    REVISION,
    REVISION_SIGNS,
    ROLE,
    SPECIAL,
)
from cpt.training.data.findings import Finding
from cpt.training.data.rendering.thoughts import thinks
from cpt.types import Outcome, Pair, Response
from cpt.types.thoughts import CLOSE, OPEN_START, split_thought

NEAR = 1 / 50
"""Share of characters that differ, below which two sides say the same."""
SHORTEST_PROMPT = 12
"""Characters of a prompt that an answer does not begin with by chance."""
QUOTING = re.compile(
    r"^[\s\"\u201c'*#>]*(?:(?:q|question|prompt|task)[\s*]*:[\s*]*)?", re.IGNORECASE
)
"""What may stand before a prompt that an answer repeats."""
DIGITS = re.compile(r"\d+")
BEGIN = 300
"""Characters in which an answer shows that it refuses."""
MARKS = ".,!?;:\"'`*_\u2018\u2019\u201c\u201d\u00ab\u00bb\u200b\u200c\u200d\ufeff"
"""What is around a word without being part of it."""
COLUMNS_OF_MEDIA = ("image", "images", "video", "videos", "audio", "audios")


@attrs.frozen
class Words:
    """What must not be in the text of an answer."""

    control: Sequence[str] = CONTROL
    markers: Sequence[str] = MARKERS


@attrs.frozen
class Texts:
    """A pair, and what several checks look at."""

    pair: Pair
    contrast: Contrast
    words: Words

    @property
    def sides(self) -> tuple[Response, Response]:
        return self.pair.chosen, self.pair.rejected

    @property
    def asked(self) -> str:
        """The last question."""
        return self.pair.prompt.messages[-1].content if self.pair.prompt.messages else ""


Check = Callable[[Texts], object]
"""Whether something is wrong; a text is the detail."""


def dropped_for(pair: Pair) -> str:
    """Why a pair cannot teach anything, or nothing."""
    if not all(answer.says_something for answer in pair.answers):
        return "empty"
    if pair.label is not None:
        return ""
    chosen, rejected = (side.text.strip() for side in (pair.chosen, pair.rejected))
    if chosen != rejected:
        return ""
    return "" if _differ_beside_text(pair) else "identical"


def _differ_beside_text(pair: Pair) -> bool:
    """Whether the thoughts of the sides differ, or their calls of tools."""
    sides = (pair.chosen, pair.rejected)
    one, other = ((side.reasoning_content, side.tool_calls) for side in sides)
    return one != other


def found_in(pair: Pair, contrast: Contrast, words: Words) -> Iterator[Finding]:
    """What the texts of a pair show that can be trained on."""
    texts = Texts(pair, contrast, words)
    for name, check in CHECKS.items():
        if found := check(texts):
            yield Finding(pair.id, name, found if isinstance(found, str) else "")


def _scored_below(texts: Texts) -> str:
    better, worse = texts.pair.chosen_score, texts.pair.rejected_score
    below = better is not None and worse is not None and better < worse
    return f"{better:g} below {worse:g}" if below else ""


def _control_token(texts: Texts) -> str:
    return _any_in(texts, texts.words.control) or _special(texts)


def _special(texts: Texts) -> str:
    signs = ("<|", "[|", "<\uff5c")
    there = (side.text for side in texts.sides if any(sign in side.text for sign in signs))
    found = (SPECIAL.search(text) for text in there)
    return next((match[0] for match in found if match), "")


def _marker(texts: Texts) -> str:
    found = _any_in(texts, texts.words.markers)
    return "" if found.endswith(":") and ABOUT_TALK.search(texts.asked) else found


def _any_in(texts: Texts, marks: Sequence[str]) -> str:
    for side in texts.sides:
        for mark in marks:
            if mark in side.text:
                return mark.strip()
    return ""


def _placeholder(texts: Texts) -> str:
    for side in texts.sides:
        found = PLACEHOLDER.search(side.text) if "{" in side.text or "**" in side.text else None
        found = found and PLACEHOLDER.search(CODE.sub(" ", side.text))
        if found and not _is_meant(found, texts.pair.prompt.text):
            return found[0]
    return ""


def _is_meant(place: re.Match[str], asked: str) -> bool:
    """Whether a prompt has this place to be filled in, or asks for such."""
    return place[0] in asked or bool(place["common"] and ABOUT_TEMPLATE.search(asked))


def _role(texts: Texts) -> str:
    for side in texts.sides:
        found = ROLE.match(side.text)
        if found and not _is_about(found[1] or "system", texts.asked):
            return found[0].strip()
    return ""


def _is_about(role: str, asked: str) -> bool:
    """Whether a question is about such a role, or asks for a conversation."""
    named = re.search(rf"\b{re.escape(role)}\b", asked, re.IGNORECASE)
    return bool(named or ABOUT_TALK.search(asked))


def _media_lost(texts: Texts) -> str:
    for turn in texts.pair.prompt.messages:
        if found := MEDIA.search(turn.content):
            return found[0]
    info = texts.pair.info
    return next((f"column {name}" for name in COLUMNS_OF_MEDIA if info.get(name)), "")


def _near_identical(texts: Texts) -> bool:
    chosen, rejected = (side.text for side in texts.sides)
    distance = texts.contrast.levenshtein_normalised
    if distance > 1 / 2 or _differ_beside_text(texts.pair):
        return False
    typo = distance < NEAR and DIGITS.findall(chosen) == DIGITS.findall(rejected)
    return typo or _bare(chosen) == _bare(rejected)


def _bare(text: str) -> list[str]:
    """Words without case and without the marks around them."""
    bare = (word.strip(MARKS) for word in text.casefold().split())
    return [word for word in bare if word]


def _refuses(side: Response) -> bool:
    answer = split_thought(side.text)[1] if "<" in side.text[:BEGIN] else side.text
    begin = answer[:BEGIN].replace("\u2019", "'")
    return side.outcome is Outcome.REFUSED or bool(REFUSAL.match(begin))


def _refusal(texts: Texts) -> bool:
    return _refuses(texts.pair.chosen)


def _cut_off(texts: Texts) -> bool:
    return Outcome.CUT_OFF in (texts.pair.chosen.outcome, texts.pair.rejected.outcome)


def _cut_short(texts: Texts) -> str:
    if any(side.tool_calls for side in texts.sides):
        return ""  # what leads to a call may end as it likes
    return cut_side(texts.pair.chosen.text, texts.pair.rejected.text)


def _revision_talk(texts: Texts) -> str:
    text = texts.pair.chosen.text
    if not any(sign in text or sign.capitalize() in text for sign in REVISION_SIGNS):
        return ""
    if ABOUT_REVISION.search(texts.pair.prompt.text):
        return ""
    found = REVISION.search(text)
    return found[0].strip() if found else ""


def _prompt_in_answer(texts: Texts) -> bool:
    asked = texts.asked.strip()
    if len(asked) < SHORTEST_PROMPT:
        return False
    begin = (
        QUOTING.sub("", side.text[: 2 * SHORTEST_PROMPT]) + side.text[2 * SHORTEST_PROMPT :]
        for side in texts.sides
    )
    return any(text.startswith(asked) and text.rstrip() != asked for text in begin)


def _one_sided_thought(texts: Texts) -> bool:
    return len({thinks(answer.message) for answer in texts.pair.answers}) > 1


def _empty_thought(texts: Texts) -> bool:
    opened = (OPEN_START.match(side.text) for side in texts.sides)
    return any(
        match
        and (close := CLOSE.search(side.text))
        and not side.text[match.end() : close.start()].strip()
        for match, side in zip(opened, texts.sides, strict=True)
    )


def _thought_unclosed(texts: Texts) -> bool:
    return any(OPEN_START.match(side.text) and not CLOSE.search(side.text) for side in texts.sides)


def _tools_lost(texts: Texts) -> bool:
    called = any(side.tool_calls for side in texts.sides)
    return called and not texts.pair.prompt.tools


def _other_script(texts: Texts) -> str:
    chosen, rejected = (script_of(side.text) for side in texts.sides)
    return f"{chosen} and {rejected}" if chosen and rejected and chosen != rejected else ""


def _broken_text(texts: Texts) -> str:
    given = (texts.pair.chosen.text, *(turn.content for turn in texts.pair.prompt.messages))
    found = ((CONTROL_CHARACTER if text.isascii() else BROKEN).search(text) for text in given)
    broken = next((ascii(match[0]) for match in found if match), "")
    return broken or _entity(texts.pair.chosen.text, texts.asked)


def _entity(text: str, asked: str) -> str:
    """A character written for HTML, where neither text nor question is about markup."""
    found = ENTITY.search(text) if "&" in text else None
    return found[0] if found and not MARKUP.search(ENTITY.sub("", text) + asked) else ""


def _unpaired(texts: Texts) -> bool:
    return texts.pair.label is not None


CHECKS: Mapping[str, Check] = {
    "scored_below": _scored_below,
    "unpaired": _unpaired,
    "control_token": _control_token,
    "placeholder": _placeholder,
    "role_in_answer": _role,
    "media_lost": _media_lost,
    "near_identical": _near_identical,
    "refusal_chosen": _refusal,
    "cut_off": _cut_off,
    "cut_short": _cut_short,
    "revision_talk": _revision_talk,
    "prompt_in_answer": _prompt_in_answer,
    "marker_in_text": _marker,
    "thought_on_one_side": _one_sided_thought,
    "empty_thought": _empty_thought,
    "thought_unclosed": _thought_unclosed,
    "tools_lost": _tools_lost,
    "other_script": _other_script,
    "broken_text": _broken_text,
}
"""What is looked for in each pair, by the kind of the finding."""
