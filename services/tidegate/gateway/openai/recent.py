"""Which job a request without an Idempotency-Key made, for the blind repeats of the stock clients.

They repeat a request that broke off, and say so in `x-stainless-retry-count`, but name no key: the
job would be run twice. What is remembered is a convenience: where it is lost, a job is run twice.
"""

from hashlib import sha256
from typing import Final

import msgspec

from tidegate.chassis.jetstream import JetStream, JetStreamError
from tidegate.chassis.keyring import Caller
from tidegate.chassis.tasks import TaskGuard
from tidegate.contracts.chat import canonical_chat
from tidegate.contracts.events import UNDECODABLE
from tidegate.contracts.jobs import hash_request
from tidegate.contracts.subjects import RECENT_STREAM, recent_subject
from tidegate.gateway.metrics import GatewayMetrics
from tidegate.gateway.openai.request import Completion

_VERSION: Final = 1


class _Record(msgspec.Struct, frozen=True):
    job_id: str
    v: int = _VERSION


_decoder = msgspec.json.Decoder(_Record)
_encoder = msgspec.json.Encoder()


def digest_of(caller: Caller, asked: Completion) -> str:
    """What two requests share that are the same one: key, class and canonical body."""
    request = hash_request(asked.job_class, canonical_chat(asked.chat))
    return sha256(f"{caller.key_id}\0{request}".encode()).hexdigest()


class Recent:
    """The memory of all gateways, for a quarter of an hour."""

    def __init__(self, jetstream: JetStream, guard: TaskGuard, metrics: GatewayMetrics) -> None:
        self._jetstream = jetstream
        self._guard = guard
        self._metrics = metrics

    def remember(self, caller: Caller, digest: str, job_id: str) -> None:
        """Remembers the job, which may not be made yet; the last one of a digest counts."""
        subject = recent_subject(caller.tenant, digest)
        self._guard.spawn("recent", self._publish(subject, _encoder.encode(_Record(job_id))))

    async def find(self, caller: Caller, digest: str) -> str | None:
        """The id of the job that the same request made a moment ago, as far as is known."""
        try:
            subject = recent_subject(caller.tenant, digest)
            stored = await self._jetstream.last(RECENT_STREAM, subject)
            return None if stored is None else _decoder.decode(stored.payload).job_id
        except (JetStreamError, *UNDECODABLE):
            self._metrics.recent_failures.inc()
            return None

    async def _publish(self, subject: str, payload: bytes) -> None:
        try:
            await self._jetstream.publish(subject, payload, {})
        except JetStreamError:
            self._metrics.recent_failures.inc()
