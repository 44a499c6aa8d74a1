"""The kinds of findings: one table of all that can be wrong with pairs."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum

import attrs


class Severity(StrEnum):
    """How bad a finding is."""

    ERROR = "error"
    """It would teach what nobody wants: training stops, unless `train.allow` names the kind."""
    WARNING = "warning"
    """Training leaves the pair out, or it is worth a look."""
    NOTE = "note"
    """Good to know."""


ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


@attrs.frozen
class Kind:
    """One kind of findings."""

    severity: Severity
    meaning: str
    dropped: bool = False
    """Training leaves the pair out."""


KINDS: Mapping[str, Kind] = {
    # What cannot be trained on, and is left out.
    "one_answer": Kind(
        WARNING,
        "a single answer, which this loss cannot use: take a --loss for single answers (cpt show "
        "loss), or make pairs",
        dropped=True,
    ),
    "template": Kind(
        WARNING,
        "the chat template refuses the conversation or loses the answer",
        dropped=True,
    ),
    "parts_early": Kind(
        WARNING,
        "the two conversations part before their last answer",
        dropped=True,
    ),
    "media": Kind(
        WARNING,
        "the row holds an image, a video or a sound, which no model that is trained here reads",
        dropped=True,
    ),
    "empty": Kind(WARNING, "a side has no text", dropped=True),
    "identical": Kind(WARNING, "both sides are the same", dropped=True),
    "outside_vocabulary": Kind(
        WARNING,
        "the tokenizer makes ids that the model has no embedding for",
        dropped=True,
    ),
    "prompt_too_long": Kind(
        WARNING,
        "the prompt has more tokens than --train.max-prompt-length, or leaves no room for an "
        "answer in --train.max-length",
        dropped=True,
    ),
    "answer_too_long": Kind(
        WARNING,
        "a prompt and an answer to it have more tokens than --train.max-length, or than the model "
        "can take",
        dropped=True,
    ),
    "one_side_too_long": Kind(
        WARNING,
        "one side alone is longer than --train.max-length: cutting it would teach where texts are "
        "cut",
        dropped=True,
    ),
    # The label.
    "contradicted": Kind(WARNING, "another pair prefers the same two answers the other way round"),
    "scored_below": Kind(ERROR, "the chosen side has a lower score than the rejected one"),
    "length_tells": Kind(
        WARNING,
        "length alone tells chosen from rejected: so many pairs would have to go until as many "
        "chosen sides are longer as are shorter",
    ),
    "unpaired": Kind(NOTE, "a single answer, good or bad, which only some losses take"),
    "both_ways": Kind(NOTE, "an answer of it is chosen in one pair and rejected in another"),
    # The text.
    "control_token": Kind(
        ERROR, "the text of a side holds a token that ends or begins a turn: <|im_end|>, </s>"
    ),
    "placeholder": Kind(
        ERROR, "a side holds the unfilled place of a template, such as {student_solution}"
    ),
    "role_in_answer": Kind(ERROR, "a side begins with the name of a role, such as Assistant:"),
    "media_lost": Kind(
        ERROR, "the prompt or the row speaks of an image, a video or a sound that is not there"
    ),
    "in_evaluation": Kind(ERROR, "the prompt is one of --eval-prompts, or shares 13 words with it"),
    "near_identical": Kind(
        WARNING,
        "the sides differ in case or punctuation alone, or in no number and less than 1 of 50 "
        "characters",
    ),
    "refusal_chosen": Kind(WARNING, "the chosen side refuses to answer"),
    "cut_off": Kind(
        WARNING, "a side stopped at a length limit, and is trained on as if it were whole"
    ),
    "cut_short": Kind(
        WARNING, "one side ends within a sentence or a block of code, the other does not"
    ),
    "revision_talk": Kind(
        WARNING, "the chosen side speaks of being a revision: `corrected solution`, `as requested`"
    ),
    "prompt_in_answer": Kind(WARNING, "a side begins with the prompt"),
    "marker_in_text": Kind(
        WARNING, "the text of a side holds what begins a turn in a template: ### Instruction:"
    ),
    "thought_on_one_side": Kind(WARNING, "one side has a thought, the other has none"),
    "empty_thought": Kind(WARNING, "a side opens a thought and closes it with nothing inside"),
    "thought_unclosed": Kind(WARNING, "a side opens a thought and never closes it"),
    "tools_lost": Kind(WARNING, "a side calls a tool, but the prompt offers none"),
    "tools_left_out": Kind(
        WARNING, "the template leaves tools, or calls of them, out of the prompt"
    ),
    "other_script": Kind(WARNING, "the two sides are written in different scripts"),
    "broken_text": Kind(
        WARNING,
        "the prompt or the chosen side has characters of a wrong decoding, as HTML writes them, or "
        "ones that nobody sees",
    ),
    "repeated": Kind(WARNING, "the same pair was there before"),
    # The tokens.
    "double_bos": Kind(WARNING, "the prompt begins with BOS twice"),
    "truncated": Kind(WARNING, "both answers cut to --train.max-length, so neither ends with EOS"),
    "boundary_merge": Kind(
        NOTE, "prompt and answer would have shared a token; encoded apart, as asked"
    ),
    "eos_added": Kind(NOTE, "the template does not end the answer; EOS appended"),
    "rewritten": Kind(
        NOTE,
        "the template does not continue its own prompt; the answer put behind it, with the "
        "thought that it has, or after an empty one if the prompt opens a thought",
    ),
    "plain_template": Kind(
        NOTE, "the tokenizer has no chat template; a line for each turn is used instead"
    ),
}
"""Every kind by its name, those that are left out first."""


def severity_of(name: str, allowed: Collection[str] = ()) -> Severity:
    """How bad a kind is, given those that the user allows: of these nothing is more than noted."""
    return NOTE if name in allowed else KINDS[name].severity
