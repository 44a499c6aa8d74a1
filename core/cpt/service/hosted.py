"""A provider's own API, or another endpoint that speaks it."""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from cpt.roles import Service
from cpt.service.credentials import check_key, check_url
from cpt.service.http.urls import normal_url


@attrs.frozen
class HostedService(Service):
    """A service that a provider hosts and that others may serve too, with a key.

    Give a subclass the options `base_url` and `api_key_env`.
    """

    official_url: ClassVar[str]
    """The provider's own address."""
    base_url_env: ClassVar[str]
    """The environment variable whose address comes before the provider's own."""

    @property
    def base_url(self) -> str | None:
        """Where the service is; None for what the environment says, or else the provider."""
        return None

    @property
    @abstractmethod
    def api_key_env(self) -> str:
        """The environment variable that holds the key."""

    @property
    def key(self) -> str:
        """The key itself; empty where there is none."""
        return os.environ.get(self.api_key_env, "")

    @property
    def endpoint(self) -> str:
        """The base URL in effect."""
        return normal_url(self.base_url or os.environ.get(self.base_url_env) or self.official_url)

    @property
    def identity(self) -> Mapping[str, Any]:
        """As that of every responder, with the base URL in effect."""
        return {**super().identity, "base_url": self.endpoint}

    def check(self) -> None:
        """A key is needed, except over plain http: servers of one's own. Raises `CptError`."""
        check_url(self.endpoint)
        check_key(self, self.api_key_env, self.endpoint)
