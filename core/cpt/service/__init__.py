"""What a responder for a service is built from; the bundled ones use these parts and no others.

A responder's `answer` sends one request and returns the answer, or raises an error. The engine does
the rest: limits, pace, retries, the journal, the budget.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cpt.service.batch import BatchItem, BatchService
    from cpt.service.chat import chat_request, chat_response, token_count
    from cpt.service.clients import Clients, sdk_errors
    from cpt.service.credentials import check_key, check_url, scrub
    from cpt.service.http_errors import http_error, retry_after
    from cpt.service.ratelimits import report_limits

__all__ = [
    "BatchItem",
    "BatchService",
    "Clients",
    "chat_request",
    "chat_response",
    "check_key",
    "check_url",
    "http_error",
    "report_limits",
    "retry_after",
    "scrub",
    "sdk_errors",
    "token_count",
]

_MODULES = {
    "batch": ("BatchItem", "BatchService"),
    "chat": ("chat_request", "chat_response", "token_count"),
    "clients": ("Clients", "sdk_errors"),
    "credentials": ("check_key", "check_url", "scrub"),
    "http_errors": ("http_error", "retry_after"),
    "ratelimits": ("report_limits",),
}


def __getattr__(name: str) -> Any:
    # A plugin is loaded by every `cpt --help`, which has no use for most of these.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"cpt.service.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
