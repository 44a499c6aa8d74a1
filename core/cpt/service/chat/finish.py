"""Why a text ended: the words of all services, and what they mean for the answer."""

from __future__ import annotations

import re

from cpt.errors import Unreachable
from cpt.secrets import one_line
from cpt.types import Outcome

ENDED, CUT, FILTERED, REFUSED, BROKEN = (
    Outcome.ANSWERED,
    Outcome.CUT_OFF,
    Outcome.FILTERED,
    Outcome.REFUSED,
    Outcome.FAILED,
)
WORDS = {
    ENDED: "stop stop_sequence stop_token end_turn eos eos_token end complete completed finished"
    " done success succeeded normal stopped null none eof",
    CUT: "length max_tokens max_length model_length model_context_window_exceeded incomplete"
    " tool_calls tool_call tool_use function_call pause_turn compaction",
    FILTERED: "content_filter content_filtered safety recitation prohibited_content blocklist spii"
    " language sensitive guardrail_intervened moderation",
    REFUSED: "refusal refused",
    BROKEN: "error abort aborted cancelled canceled failed timeout network_error"
    " malformed_function_call insufficient_system_resource",
}
FINISH = {word: outcome for outcome, words in WORDS.items() for word in words.split()}
"""What OpenAI, Anthropic, Google, Mistral, Cohere, DeepSeek, Zhipu, Bedrock, OpenRouter, vLLM,
SGLang, llama.cpp, TGI, Ollama and transformers say, in lower case with `_`."""
STEMS = (
    (FILTERED, r"filter|safe|policy|moderat|prohibit|block|guard|sensitiv|recit|spii|toxic"),
    (REFUSED, r"refus"),
    (BROKEN, r"error|abort|cancel|fail|timeout|timed|interrupt|malformed|invalid|unexpected"
             r"|resource|overload|preempt|disconnect|kill|shutdown|unavailable|lost|crash"
             r"|by_user|user_stop|premature|early_stop|closed|internal"),
    (CUT, r"length|long|max|limit|window|exceed|trunc|budget|tool|function|pause|repeti"
          r"|incomplete"),
    (ENDED, r"stop|eos|^end|_end|complet|finish|done|success|eot"),
)  # fmt: skip
"""How words that are not in the table are read: the first that fits."""

LENGTH = "length|long|max|window"
"""Words that say what `cut_off` says."""

_said: set[str] = set()
"""Unknown words that were reported."""


def ended(text: str, reason: object, author: str = "") -> tuple[Outcome, str]:
    """How a text with this finish reason ended, and why, where it was not answered.

    A reason that nobody knows is said once, and its text counts as cut off. No reason at all is
    taken as an end. Raises `Unreachable` if the service broke the answer off: ask again.
    """
    word = reason if isinstance(reason, str) and reason in FINISH else plain(reason)
    outcome = FINISH.get(word) or _by_stem(word)
    if outcome is None:
        _say(word, author)
        outcome = CUT
    if outcome is BROKEN:
        raise Unreachable(f"the service broke the answer off (finish reason {word!r})")
    shown = f"finish reason {one_line(word, 80)!r}"
    if not text.strip():
        outcome = Outcome.EMPTY if outcome in (ENDED, CUT) else outcome
        return outcome, f"no text ({shown})"
    other = outcome is CUT and not re.search(LENGTH, word)
    return outcome, shown if other else ""


def plain(reason: object) -> str:
    """A finish reason in lower case with `_`: `FinishReason.MAX_TOKENS`, `maxTokens`."""
    if reason is None or reason == "":
        return "null"
    word = str(reason)[:200].strip().rpartition(".")[2]
    if not word.isupper():
        word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word)
    return re.sub(r"[\s\-]+", "_", word).lower().removeprefix("finish_reason_")


def _by_stem(word: str) -> Outcome | None:
    return next((outcome for outcome, stem in STEMS if re.search(stem, word)), None)


def _say(word: str, author: str) -> None:
    if word not in _said:
        _said.add(word)
        import logging  # slow to import

        logging.getLogger("cpt").warning(
            "%s: unknown finish reason %r; its texts count as cut off", author, one_line(word, 80)
        )
