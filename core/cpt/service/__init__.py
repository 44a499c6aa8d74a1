"""What a responder for a service is built from; the bundled ones use these parts and no others.

A responder's `answer` sends one request and returns the answer, or raises an error. The engine does
the rest: limits, pace, retries, the journal, the budget.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpt.service.batch import BatchItem, BatchService, item_of
    from cpt.service.chat.completions import chat_request, chat_response, token_count
    from cpt.service.chat.extra import extra_body_field
    from cpt.service.chat.finish import ended
    from cpt.service.chat.forms import json_schema_field, top_logprobs_field
    from cpt.service.chat.options import ChatService, CompletionsService
    from cpt.service.credentials import check_key, check_url, scrub
    from cpt.service.hosted import HostedService
    from cpt.service.http.bodies import ACCEPTED, lines_of, read_body, read_error, read_json
    from cpt.service.http.clients import Clients, bounded, sdk_clients, sdk_errors
    from cpt.service.http.errors import STATUS, body_error, http_error, retry_after, words
    from cpt.service.http.ratelimits import report_limits
    from cpt.service.http.urls import is_openai, normal_url

__all__ = [
    "ACCEPTED",
    "STATUS",
    "BatchItem",
    "BatchService",
    "ChatService",
    "Clients",
    "CompletionsService",
    "HostedService",
    "body_error",
    "bounded",
    "chat_request",
    "chat_response",
    "check_key",
    "check_url",
    "ended",
    "extra_body_field",
    "http_error",
    "is_openai",
    "item_of",
    "json_schema_field",
    "lines_of",
    "normal_url",
    "read_body",
    "read_error",
    "read_json",
    "report_limits",
    "retry_after",
    "scrub",
    "sdk_clients",
    "sdk_errors",
    "token_count",
    "top_logprobs_field",
    "words",
]

_MODULES = {
    "batch": ("BatchItem", "BatchService", "item_of"),
    "http.bodies": ("ACCEPTED", "lines_of", "read_body", "read_error", "read_json"),
    "chat.completions": ("chat_request", "chat_response", "token_count"),
    "hosted": ("HostedService",),
    "http.clients": ("Clients", "bounded", "sdk_clients", "sdk_errors"),
    "credentials": ("check_key", "check_url", "scrub"),
    "chat.extra": ("extra_body_field",),
    "chat.finish": ("ended",),
    "chat.forms": ("json_schema_field", "top_logprobs_field"),
    "chat.options": ("ChatService", "CompletionsService"),
    "http.errors": ("STATUS", "body_error", "http_error", "retry_after", "words"),
    "http.ratelimits": ("report_limits",),
    "http.urls": ("is_openai", "normal_url"),
}


def __getattr__(name: str) -> Any:
    # A plugin is loaded by every `cpt --help`, which has no use for most of these.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"cpt.service.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
