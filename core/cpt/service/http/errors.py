"""What an HTTP error means for the request, and for all others."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from cpt.errors import AskError, Denied, Filtered, Overloaded, Rejected, Unreachable
from cpt.secrets import hide
from cpt.service.http.clock import now_of, seconds_of

DENIED = frozenset({401, 402, 403, 404, 405})
"""Key, payment, permission, model or address: no request can succeed. A redirect (3xx) is the same:
the address is wrong."""
OVERLOADED = frozenset({429, 503, 529})
LATER = frozenset({408, 409, 425})
"""Client errors that pass."""
YEAR = 366 * 86400.0
"""Seconds. What asks to wait longer than this says nothing."""

STATUS = {
    "authentication_error": 401,
    "invalid_api_key": 401,
    "unauthenticated": 401,
    "billing_error": 402,
    "insufficient_quota": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "not_found_error": 404,
    "not_found": 404,
    "model_not_found": 404,
    "request_too_large": 413,
    "invalid_request_error": 400,
    "invalid_argument": 400,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "resource_exhausted": 429,
    "too_many_requests": 429,
    "timeout_error": 504,
    "deadline_exceeded": 504,
    "unavailable": 503,
    "overloaded_error": 529,
}
"""What an error that is named in a body would have been as an HTTP status."""

# How providers and servers word what HTTP has no number for. Each is looked for in the codes and
# the message of an error, in this order.
TOO_LONG = re.compile(
    r"context.{0,3}length|context.?(window|size)|maximum context|too long|too many (input )?tokens"
    r"|reduce the length|string_above_max_length|prompt is too|input (tokens?|length)"
)
NO_MONEY = re.compile(r"insufficient_quota|credit balance|insufficient (balance|credit)")
"""How providers report an empty account under a status that means something else."""
RATE = re.compile(r"rate.?limit|too many requests|速率限制|请求过于频繁")
ACCOUNT = re.compile(
    r"api.?key|insufficient_quota|credit balance|quota exceeded|billing|unauthori[sz]ed"
    r"|authenticat|access token|access (was|has been|is) (terminat|revok|den)"
    r"|(account|organi[sz]ation|project|user|workspace|subscription)\b"
    r".{0,60}(suspend|deactivat|disabled|banned|blocked|block(ed)?|restricted|verified|terminated"
    r"|flagged|not active|access|arrears|overdue)"
)
FILTERED = re.compile(
    r"content.?(filter|policy|management|moderation|inspect|safety|exists.risk)|moderation|flagged"
    r"|responsible.?ai|safety|usage polic|policy.?violation|violat\w+ .{0,60}polic|prohibited"
    r"|guardrail|harmful|inappropriate|unsafe|sensitive|data.?inspection|blocked by|blocklist"
    r"|prompt (was|is) blocked|jailbreak|敏感|不安全|违规|违法"
)
OF_ALL = re.compile(
    r"chat.?template|unsupported.?(parameter|value)|unknown.?(parameter|argument|field|name)"
    r"|unrecognized.{0,30}(argument|parameter|field)|extra (inputs|fields)|extra_forbidden"
    r"|(parameter|argument|option|model|value)\b.{0,60}(not supported|unsupported|does not exist"
    r"|not exist|not found|not allowed|not available|deprecated)|not supported with this model"
    r"|does not support|max_tokens|max_completion_tokens|temperature|top_p|top_k"
    r"|logprobs|response_format|json_schema|min_p\b|\bseed\b must|stop.{0,12}sequences"
    r"|(presence|frequency|repetition)_penalty|not loaded|isn't supported"
    r"|reasoning_effort|unknown model|invalid model|model.?not.?found"
)
OF_THE_PROMPT = frozenset({"", "messages", "prompt", "input", "contents", "content"})
"""Where `param` names one of these (or `messages[0].content`), the prompt is at fault."""
CODES = ("code", "type", "status", "reason", "error_code", "param")
MESSAGES = ("message", "msg", "error_msg", "status_msg", "error_message", "detail", "title")
ERRORS = ("error", "errors", "innererror", "base_resp", "details")
"""Where the bodies of errors have what."""


def http_error(
    status: int, headers: Mapping[str, str], body: Any, secret: str = "", *, came_as: int = 0
) -> AskError:
    """The error to raise for an HTTP `status` of 300 or more, its message in one line.

    `secret` is the key that was sent: some endpoints repeat it, the message will not. `came_as` is
    the status that it really had, where the body names another.
    """
    hide(secret)
    text = f"HTTP {came_as or status}: {words(body)}" if body else f"HTTP {status}"
    if status < 400:
        # A client that follows would send prompts, and perhaps the key, to whoever is named.
        place = f" to {headers['location']}" if "location" in headers else ""
        return Denied(
            f"HTTP {status}: a redirect{place}, which is not followed; if that is the service, "
            "write it as base_url"
        )
    if status in OVERLOADED or (status in (400, 403) and RATE.search(_said(body))):
        out_of_money = status < 500 and NO_MONEY.search(_said(body))
        return Denied(text) if out_of_money else Overloaded(text, retry_after(headers))
    if status in LATER or status >= 500:
        return Unreachable(text)
    return _refusal(status, text, body)


def _refusal(status: int, text: str, body: Any) -> AskError:
    """Whether a client error is about this prompt, or about all of them."""
    said, codes = _said(body), " ".join(_found(body, CODES)).lower()
    if status in (401, 402):
        return Denied(text)
    if FILTERED.search(codes):
        return Filtered(text)
    if ACCOUNT.search(said):
        return Denied(text)
    # A web page that says "blocked" is that of a firewall, which reads no prompts.
    if FILTERED.search(said) and not (status in DENIED and isinstance(body, str)):
        return Filtered(text)
    if status in DENIED:
        return Denied(text)
    return Rejected(text, of_all=_is_of_all(body, said) and not TOO_LONG.search(said))


def body_error(body: Any, headers: Mapping[str, str]) -> AskError | None:
    """The error that a body reports under a status of 200, as its HTTP status would; else None."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, Mapping):
        return None
    inner = body.get("error") or body.get("errors") or body.get("base_resp")
    is_one = body.get("object") == "error" or body.get("type") == "error"
    if not inner and not is_one and not ({"msg", "error_msg", "detail", "message"} & body.keys()):
        return None
    return http_error(_status_in(body) or 500, headers, body, came_as=200)


def _status_in(body: Any) -> int | None:
    """The HTTP status that an error names, by number or by name."""
    for code in _found(body, CODES):
        word = code.strip().lower()
        if word.isascii() and word.isdigit() and len(word) == 3 and 400 <= int(word) < 600:
            return int(word)
        if word in STATUS:
            return STATUS[word]
    said = _said(body)
    if RATE.search(said):
        return 429
    return 400 if FILTERED.search(said) else None


def _is_of_all(body: Any, said: str) -> bool:
    """Whether a 400 looks as if every prompt would get it."""
    params = [param for param in _found(body, ("param",)) if param != "None"]
    if params:
        return re.split(r"[.\[]", params[0])[0].lower() not in OF_THE_PROMPT
    return bool(OF_ALL.search(said))


def _said(body: Any) -> str:
    """All codes and messages of an error's body, in lower case; nothing that it quotes."""
    if isinstance(body, str):
        return body[:2000].lower()
    found = (value[:2000] for value in _found(body, CODES + MESSAGES))
    return " ".join(found)[:10_000].lower()


def _found(body: Any, names: tuple[str, ...], deep: int = 6) -> Iterator[str]:
    """The texts and numbers under these names, in the body and in the errors inside it."""
    if isinstance(body, list):
        for inner in body[:8]:
            yield from _found(inner, names, deep - 1) if deep else ()
    elif isinstance(body, Mapping):
        for name in names:
            if isinstance(body.get(name), str | int):
                yield str(body[name])[:10_000]
        for name in (*ERRORS, "message", "detail"):
            inner = body.get(name)
            if deep and isinstance(inner, Mapping | list):
                yield from _found(inner, names, deep - 1)
            elif name == "error" and isinstance(inner, str) and "message" in names:
                yield inner


def words(body: Any) -> str:
    """What a provider says in the body of an error: its `message`, wherever that is."""
    found = next(_found(body, MESSAGES), None) if isinstance(body, Mapping | list) else body
    if isinstance(found, str) and found.strip():
        return found
    try:
        return json.dumps(body, default=str)[:10_000]
    except (ValueError, TypeError, RecursionError):
        return f"an error that cannot be read ({type(body).__name__})"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait: a number, or the time from its own date until another.

    None where it says nothing, or nothing that can be meant: more than a year.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return _plausible(float(headers.get(name, "")) * unit)
        except ValueError:
            continue
    try:
        return _plausible(seconds_of(headers["retry-after"]) - now_of(headers))
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def _plausible(seconds: float) -> float | None:
    return max(0.0, seconds) if math.isfinite(seconds) and seconds <= YEAR else None
