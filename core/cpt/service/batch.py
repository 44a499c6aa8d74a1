"""What a service has to do for its provider's batch endpoint to be used."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs

from cpt.errors import AskError
from cpt.roles import Service
from cpt.types import Prompt, Response


@attrs.frozen
class BatchItem:
    """One request of a batch."""

    key: str
    """32 hexadecimal digits: what its answer is found again by."""
    prompt: Prompt
    sample: int


def item_of(result: Any, items: Mapping[str, BatchItem]) -> BatchItem | None:
    """The request that a line of a provider's results is about, by its `custom_id`."""
    return items.get(str(result.get("custom_id"))) if isinstance(result, Mapping) else None


@attrs.frozen
class BatchService(Service):
    """A service whose provider has a batch endpoint too.

    `batch_items` and `batch_bytes` are the most requests and bytes that the provider takes in one
    batch. The methods raise what `answer` raises, and never retry.
    """

    batch_items: ClassVar[int]
    """Most requests that the provider takes in one batch."""
    batch_bytes: ClassVar[int]
    """Most bytes that it takes in one batch."""

    @abstractmethod
    async def batch_submit(self, name: str, items: Sequence[BatchItem]) -> str:
        """Send a batch, with `name` on it if the provider can keep one; return its id there."""

    @abstractmethod
    async def batch_find(self, name: str, count: int, since: float) -> Sequence[str]:
        """Ids of the batches that may be the one of this name and so many requests.

        Asked when `batch_submit` was cut short, no earlier than `since` (seconds since 1970). None:
        it never arrived. A provider that keeps no name returns all that fit.
        """

    @abstractmethod
    async def batch_ended(self, remote: str) -> bool:
        """Whether nothing more will come. Raise `Rejected` if the provider has no such batch."""

    @abstractmethod
    def batch_results(
        self, remote: str, items: Mapping[str, BatchItem]
    ) -> AsyncIterator[tuple[str, Response | AskError]]:
        """Yield the key and the answer, or the error, of each request in `items` that was tried.

        `Rejected` is final; what ends in another error, or is missing, is asked again.
        """
