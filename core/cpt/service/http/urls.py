"""Addresses of services: one spelling for each, and whose they are."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import urlsplit, urlunsplit

PORTS = {"http": 80, "https": 443}
OPENAI_HOSTS = (
    "api.openai.com",
    "openai.azure.com",
    "cognitiveservices.azure.com",
    "services.ai.azure.com",
    "openai.azure.us",
    "cognitiveservices.azure.us",
    "openai.azure.cn",
    "cognitiveservices.azure.cn",
)
"""Where OpenAI's models are served by OpenAI (`eu.api.openai.com` too) or by Azure."""


@lru_cache
def normal_url(url: str) -> str:
    """The address without what makes no difference: case, the usual port, slashes at the end."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return url
    if ":" in host:
        host = f"[{host}]"
    login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
    shown = "" if port in (None, PORTS.get(parts.scheme)) else f":{port}"
    place = f"{login}{host.rstrip('.')}{shown}"
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), parts.query, parts.fragment))


@lru_cache
def place_of(url: str) -> str:
    """Host and port as `normal_url` writes them, with or without https://; empty if unknown."""
    try:
        return urlsplit(normal_url(url if "//" in url else f"//{url}")).netloc
    except ValueError:
        return ""


def is_openai(url: str) -> bool:
    """Whether OpenAI's own API is there, which has dropped some names that others still use."""
    host = place_of(url).partition(":")[0]
    return any(host == known or host.endswith(f".{known}") for known in OPENAI_HOSTS)
