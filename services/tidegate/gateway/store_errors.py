"""JetStream's silences and refusals as the caller's errors, for the core."""

import contextlib
from collections.abc import Iterator

from tidegate.chassis.jetstream import JetStreamError
from tidegate.contracts.errors import TidegateError
from tidegate.eventlog.appender import UnsettledError
from tidegate.gateway.creation import unavailable


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Turns what JetStream does not answer into Unavailable."""
    try:
        yield
    except TidegateError:
        raise
    except (JetStreamError, UnsettledError) as error:
        raise unavailable() from error
