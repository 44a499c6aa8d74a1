"""Sending batches: what waits goes out together, and is looked for if it may have arrived."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Sequence

import attrs

from cpt.asking.journal.keys import Request
from cpt.asking.rate.retries import retried
from cpt.asking.stop import Stop
from cpt.asking.transports.batch_log import BatchLog, ProviderBatch
from cpt.asking.transports.batch_timing import Timing
from cpt.errors import Malformed, Overloaded, Rejected
from cpt.service.batch import BatchService

OPTIONS = 4096
"""Bytes of a request beside its messages and the options of its responder."""


@attrs.define(eq=False)
class Sender:
    """The requests of one responder that are in no batch yet."""

    responder: BatchService
    identity: str
    log: BatchLog
    stop: Stop
    timing: Timing
    size: int
    """Most requests in a batch: less than the provider's limit once it refused so many."""
    _unsent: dict[str, Request] = attrs.field(factory=dict)

    def add(self, requests: Sequence[Request]) -> bool:
        """Take these into the next batches. Whether there were none waiting before."""
        first = bool(requests) and not self._unsent
        self._unsent.update({request.key: request for request in requests})
        return first

    async def settle(self) -> None:
        """Wait until no new requests come, or a batch is full."""
        before = 0
        while before < len(self._unsent) < self.size:
            before = len(self._unsent)
            await self.stop.sleep(self.timing.quiet)

    def batches(self) -> Iterator[ProviderBatch]:
        """All that waits, in batches that are written down already."""
        while self._unsent:
            name = f"cpt-{uuid.uuid4().hex}"
            batch = ProviderBatch(name, self.identity, self._take(), time.time())
            self.log.intend(batch)
            yield batch

    async def submit(self, batch: ProviderBatch) -> ProviderBatch:
        """Send a batch; it has its id then. `Unreachable` is raised if it may have arrived."""
        try:
            remote = await self.responder.batch_submit(batch.name, list(batch.items.values()))
        except (Overloaded, Rejected):
            self.log.over(batch.name, "lost")
            raise
        if not (isinstance(remote, str) and remote):
            raise Malformed("a batch was sent, and what came back has no id for it")
        self.log.sent(batch.name, remote)
        return attrs.evolve(batch, remote=remote)

    async def find(self, batch: ProviderBatch) -> list[ProviderBatch]:
        """What may be this batch at the provider, if its id was never noted."""
        if batch.remote:
            return [batch]
        known, count = self.log.known(), len(batch.requests)
        remotes = await retried(
            lambda: self.responder.batch_find(batch.name, count, batch.since),
            self.responder.attempts,
            self.stop.sleep,
            self.timing.after,
        )
        found = [
            attrs.evolve(batch, name=f"{batch.name}-{number}", remote=remote)
            for number, remote in enumerate(remotes)
            if isinstance(remote, str) and remote and remote not in known
        ]
        for candidate in found:
            self.log.intend(candidate)
        self.log.over(batch.name, "found" if found else "lost")
        return found

    def _take(self) -> list[Request]:
        """As many as fit in a batch."""
        taken: list[Request] = []
        left = self.responder.batch_bytes
        options = len(self.identity.encode())
        for request in list(self._unsent.values())[: self.size]:
            # Escapes can double the text.
            left -= 2 * (len(request.messages.encode()) + options) + OPTIONS
            if taken and left < 0:
                break
            taken.append(self._unsent.pop(request.key))
        return taken
