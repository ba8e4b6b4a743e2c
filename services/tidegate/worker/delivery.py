"""One delivery of a job's message, and what can be said about it to JetStream.

Only the job's owner may speak: the server takes a verb from a superseded delivery too, and would
let go of the job while another worker runs it. What nobody speaks about is delivered again when
its time has run out, and that is how all is left that cannot be worked on. The payloads are those
of the server's ADR-13 and of its documentation on acknowledgement models.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from tidegate.chassis.backoff import Backoff
from tidegate.chassis.jetstream import JetStream, NoAnswerError
from tidegate.chassis.nats_connection import NatsConnection
from tidegate.contracts.queue_consumers import ACK_WAIT_SECONDS

_ACK: Final = b"+ACK"
_IN_PROGRESS: Final = b"+WPI"
_NAK: Final = b"-NAK"
# Between tries while JetStream does not answer.
BACKOFF: Final = Backoff(0.05, 2.0)
# By then a job that could not be acknowledged was delivered again, or its consumer is no more.
_ACK_SECONDS: Final = 2.0 * ACK_WAIT_SECONDS


class Message(Protocol):
    """What the connection hands over."""

    @property
    def subject(self) -> str:
        """The job's subject, or the inbox where it is a status."""

    @property
    def reply(self) -> str:
        """Where verbs about it go."""

    @property
    def data(self) -> bytes:
        """The payload."""

    @property
    def headers(self) -> Mapping[str, str] | None:
        """Its headers, if it has any."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A job's message as it was delivered: `created_ms` is JetStream's time of storing it."""

    subject: str
    reply: str
    payload: bytes
    created_ms: int


def delivery_of(message: Message) -> Delivery:
    """The delivery that a message is.

    Its reply subject is `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer
    sequence>.<time>.<pending>`, from newer servers with domain and account after `$JS.ACK` and a
    token at the end. Raises ValueError for anything else.
    """
    tokens = message.reply.split(".")
    if tokens[:2] != ["$JS", "ACK"] or len(tokens) < 9:
        raise ValueError("not a delivery")
    nanoseconds = int(tokens[7] if len(tokens) == 9 else tokens[9])
    return Delivery(message.subject, message.reply, message.data, nanoseconds // 1_000_000)


class Deliveries:
    """Speaks about deliveries, for the owners of their jobs. `ack_seconds`: insist on an ack."""

    def __init__(
        self, nats: NatsConnection, jetstream: JetStream, *, ack_seconds: float = _ACK_SECONDS
    ) -> None:
        self._nats = nats
        self._jetstream = jetstream
        self._ack_seconds = ack_seconds

    async def keep_alive(self, delivery: Delivery) -> None:
        """Says that it is still worked on. Raises Unavailable while disconnected."""
        await self._nats.publish(delivery.reply, _IN_PROGRESS)

    async def ack(self, newest: Callable[[], Delivery]) -> bool:
        """Removes the job from the queue; whether JetStream confirmed it.

        `newest` gives the delivery, which may be renewed meanwhile. Unconfirmed after long enough,
        the job is left to whoever it is delivered to next, for its log is sealed.
        """
        clock = asyncio.get_running_loop().time
        give_up_at = clock() + self._ack_seconds
        tries = 0
        while not await self._tell(newest(), _ACK):
            if clock() >= give_up_at:
                return False
            await BACKOFF.pause(tries)
            tries += 1
        return True

    async def hand_back(self, delivery: Delivery, *, delay: float = 0.0) -> bool:
        """Has it delivered again, after `delay` seconds; whether JetStream confirmed it."""
        if delay <= 0:
            return await self._tell(delivery, _NAK)
        options = msgspec.json.encode({"delay": int(delay * 1e9)})
        return await self._tell(delivery, _NAK + b" " + options)

    async def _tell(self, delivery: Delivery, verb: bytes) -> bool:
        try:
            await self._jetstream.request(delivery.reply, verb)
        except NoAnswerError:
            return False
        return True
