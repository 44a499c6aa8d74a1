# ruff: noqa: RUF001  letters of other scripts are meant
"""Words that give a faulty text away."""

from __future__ import annotations

import re

CONTROL = (
    *("<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|start_header_id|>"),
    *("<start_of_turn>", "<end_of_turn>", "<|end|>", "<|eom_id|>", "<|end_of_text|>"),
    *("<\uff5cend\u2581of\u2581sentence\uff5c>", "<\uff5cUser\uff5c>", "<\uff5cAssistant\uff5c>"),
    *("<|begin_of_text|>", "<|assistant|>", "<|user|>", "<|return|>", "</s>", "<bos>", "<eos>"),
)
"""Tokens that end or begin a turn in widespread models: those of another model are in data too."""
SPECIAL = re.compile(
    r"<\|(?!(?:begin|end)_of_(?:thought|solution))[A-Za-z]\w{0,40}\|>|\[\|[a-z]{1,20}\|\]"
    "|<\uff5c[^<>\uff5c\\n]{1,40}\uff5c>"
)
"""The form that such tokens have in most models; thoughts are looked at elsewhere."""
MARKERS = (
    *("[INST]", "[/INST]", "<<SYS>>", "\n\nHuman:", "\n\nAssistant:", "\nASSISTANT:"),
    *("### Instruction:", "### Response:", "### Human:", "### User:", "### Assistant:"),
)
"""What begins a turn in templates that have no token for it."""
PLACEHOLDER = re.compile(
    r"\{\{?\s*(?:(?:corrected_|worsened_)?student_solution|teacher_reasoning)\s*\}\}?"
    r"|(?<![\w$\\}=(\[/])(?<!= )\{\{?\s*(?P<common>(?:\w{1,20}_)?(?:solution|reasoning|task|prompt"
    r"|question|instruction|response|answer|completion|input|output|chosen|rejected)"
    r"(?:[_ ]here)?)\s*\}\}?"
    r"|\{corrected student solution\}"
    r"|\*\*(?:Corrected|Worsened) Student Solution:?\*\*",
    re.IGNORECASE,
)
"""What a template has for what is to be filled in, and the headings of CLAIR's reviser; the word
of a place that may be meant is `common`."""
CODE = re.compile(r"```.*?(?:```|\Z)|`[^`\n]*`|\"[^\"\n]*\"|(?<!\w)'[^'\n]*'", re.DOTALL)
"""Code and quotations: what stands in braces there is meant."""
ABOUT_TEMPLATE = re.compile(
    r"template|placeholder|jinja|mustache|handlebars|string|interpolat|variable|prompt",
    re.IGNORECASE,
)
"""In a prompt: words for what may well be answered with places to be filled in."""
REVISED = r"(?:corrected|improved|revised|rewritten|worsened|modified)"
REVISION = re.compile(
    rf"\b{REVISED} (?:student(?:'s)? )?(?:solution|answer|response|version|text|reply)\b\W{{0,3}}:"
    r"|\b(?:here(?:'s| is)|below is|this is|in this|my|your) (?:a |an |the )?"
    rf"(?:{REVISED}|better) (?:student(?:'s)? )?(?:solution|answer|response|version|text|draft)\b"
    r"|\bthe student(?:'s)? (?:solution|answer|response)\b"
    r"|\b(?:the|your|my) (?:original|previous) (?:answer|response)\b"
    r"|\bbased on (?:the|your) feedback\b"
    r"|^\W*(?:sure|certainly|of course|as (?:you )?requested)\b[^.!\n]{0,40}"
    r"\b(?:revis|correct|improv|rewrit)\w*",
    re.IGNORECASE,
)
"""How a reviser speaks of its task instead of doing it."""
REVISION_SIGNS = (
    *("revis", "correct", "improv", "rewrit", "student", "worsened", "modified"),
    *("better version", "better answer", "better response", "the feedback", "your feedback"),
    *(f"{when} {what}" for when in ("original", "previous") for what in ("answer", "response")),
)
"""One of them is in every text that `REVISION` finds something in."""
ABOUT_REVISION = re.compile(
    r"revis|correct|improv|rewrit|edit|modif|student|version|proofread|fix|grammar|exam|teach"
    r"|better|feedback|answer|respon|rephras|paraphras|reword|shorten|simplif|polish|formal"
    r"|concise|draft",
    re.IGNORECASE,
)
"""In a prompt: words for what may well be answered with a revision."""
SORRY = (
    r"^\W*(?:(?:i'?m|i am) (?:very |really |so )?(?:sorry|afraid)|sorry|(?:my )?apologies"
    r"|i apologi[sz]e|unfortunately|as an? (?:\w+ )?(?:ai|language model|assistant)\b)?"
)
REFUSAL = re.compile(
    rf"{SORRY}[^.!?\n]{{0,60}}?\b"
    r"(?:i (?:cannot|can ?not|can'?t|am (?:not able|unable)|won'?t|will not|must decline)"
    r"|i'?m (?:not able|unable)) (?:to )?"
    r"(?:\w+ )?(?:assist|help(?! but\b| \w+ing\b)|provide|comply|fulfil|answer|create|generate"
    r"|write|do that|discuss|engage|support|continue|share|give|offer|produce|complete)"
    rf"|{SORRY}[^.!?\n]{{0,40}}?\b"
    r"(?:i (?:must|have to|need to) (?:\w+ )?(?:decline|refuse)|not something (?:that )?i can"
    r"|something (?:that )?i can(?:'?t|not) (?:do|assist|help|provide|discuss|support|create|write)"
    r"|i (?:do not|don'?t) feel comfortable"
    r"|(?:inappropriate|unethical) for me to)"
    r"|^\W*(?:(?:es )?tut mir leid.{0,60}\bnicht (?:\w+ )?(?:weiter)?helfen"
    r"|(?:je suis )?désolée?.{0,40}\bne peux pas.{0,10}\b(?:aider|répondre|fournir)"
    r"|lo siento.{0,30}\bno puedo (?:ayudar|responder|proporcionar)"
    r"|(?:sinto muito|desculpe).{0,30}\bnão posso (?:ajudar|responder|fornecer)"
    r"|mi dispiace.{0,30}\bnon posso (?:aiutar|risponder|fornir)"
    r"|(?:извините|к сожалению).{0,30}\bне могу (?:помочь|ответить|предостав)"
    r"|(?:抱歉|对不起).{0,12}(?:无法|不能)|申し訳.{0,40}でき(?:ません|かね))",
    re.IGNORECASE,
)
"""How an answer begins that refuses, in English and some other languages."""
ROLE = re.compile(
    r"\s*(?:\*\*|#+ ?|<\|?|\[)?"
    r"(?:(assistant|user|human|ai|bot|gpt|chatgpt|gpt-[345]\w?)(?:\|?>|\])?\s*:"
    r"|system(?:\|?>|\])?\s*:\W*you are|assistant\s*\n)",
    re.IGNORECASE,
)
"""How an answer begins that repeats the name of a role."""
ABOUT_TALK = re.compile(
    r"dialog|convers|chat|transcript|script|role.?play|interview|debate|scene|skit"
    r"|\bplay\b|drama|\bjoke|\bsketch|\bstory",
    re.IGNORECASE,
)
"""In a prompt: words for what may well be answered with the turns of a conversation."""
ENTITY = re.compile(r"&(?:amp|lt|gt|quot|nbsp|#39|#x27);")
"""Characters as HTML writes them."""
MARKUP = re.compile(r"[<`&]|html|xml|escap|entit", re.IGNORECASE)
"""What shows that they are meant."""
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
