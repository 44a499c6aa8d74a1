"""Words that give a faulty text away."""

from __future__ import annotations

import re

CONTROL = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "<|end|>", "<|eom_id|>", "<|end_of_text|>"),
    *("<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"),
    *("<|begin_of_text|>", "<|assistant|>", "<|user|>", "<|return|>", "</s>", "<eos>"),
)
"""Tokens that end or begin a turn in widespread models: those of another model are in data too."""
MARKERS = (
    *("[INST]", "[/INST]", "\n\nHuman:", "\n\nAssistant:"),
    *("### Instruction:", "### Response:"),
)
"""What begins a turn in templates that have no token for it."""
PLACEHOLDER = re.compile(
    r"\{\{?\s*(?:(?:corrected_|worsened_)?student_solution|teacher_reasoning|task|prompt|question"
    r"|instruction|response|answer|completion|input|output|chosen|rejected)\s*\}\}?"
    r"|\{corrected student solution\}"
    r"|\*\*(?:Corrected|Worsened) Student Solution:?\*\*",
    re.IGNORECASE,
)
"""What a template has for what is to be filled in, and the headings of CLAIR's reviser."""
REVISION = re.compile(
    r"\b(?:corrected|improved|revised|worsened|modified) (?:student(?:'s)? )?"
    r"(?:solution|answer|response|version)\b"
    r"|\bthe student(?:'s)? (?:solution|answer|response)\b"
    r"|^\W*(?:sure|certainly|of course|as (?:you )?requested)\b[^.\n]{0,40}"
    r"\b(?:revis|correct|improv|rewrit)\w*",
    re.IGNORECASE,
)
"""How a reviser speaks of its task instead of doing it."""
REVISION_SIGNS = ("revis", "correct", "improv", "rewrit", "student", "worsened", "modified")
"""One of them is in every text that `REVISION` finds something in."""
ABOUT_REVISION = re.compile(
    r"revis|correct|improv|rewrit|edit|modif|student|version|proofread|fix|grammar", re.IGNORECASE
)
"""In a prompt: words for what may well be answered with a revision."""
REFUSAL = re.compile(
    r"^\W*(?:(?:i'?m|i am) (?:very |really |so )?(?:sorry|afraid)|sorry|i apologi[sz]e"
    r"|unfortunately|as an? (?:ai|language model|assistant)\b)?[^.!?\n]{0,60}?\b"
    r"(?:i (?:cannot|can ?not|can'?t|am (?:not able|unable)|won'?t|will not|must decline)"
    r"|i'?m (?:not able|unable)) (?:to )?"
    r"(?:\w+ )?(?:assist|help|provide|comply|fulfil|answer|create|generate|write|do that|"
    r"discuss|engage|support|continue|share|give|offer|produce|complete)",
    re.IGNORECASE,
)
"""How an answer begins that refuses."""
ROLE = re.compile(
    r"\s*(?:\*\*|#+ ?|<\|?|\[)?(?:assistant|user|human|system|ai|bot|model|gpt)(?:\|?>|\])?\s*:",
    re.IGNORECASE,
)
"""How an answer begins that repeats the name of a role."""
MEDIA = re.compile(
    r"<(?:image|img|video|audio|image_placeholder|im_patch)\s*/?>|<\|(?:image|video|audio)[^|]*\|>"
    r"|\[(?:image|video|audio)\]|<\|vision_start\|>|!\[[^\]]{0,500}\]\(data:image",
    re.IGNORECASE,
)
"""What a text has in the place of an image, a video or a sound."""
CONTROL_CHARACTER = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f]")
BROKEN = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f\ufffd\ufffe\ufeff]"
    "|\u00e2\u20ac[\u2122\u0153\u009d\u201c\u201d\u00a6]|\u00c3[\u00a0-\u00bf]\u00c2?"
)
"""Characters that no text has on purpose, and UTF-8 that was read as Latin-1."""
