"""The way into a call: the key is checked, the account opened, the behaviour looked up."""

import asyncio
import hmac
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from aiohttp import web

from tidegate.simulator.calls import CallLog, CallRecord, Outcome
from tidegate.simulator.errors import ProviderError, bad_request
from tidegate.simulator.faults import (
    HEADER,
    Behaviour,
    CallPlan,
    Endpoint,
    Failure,
    FaultBook,
    parse_header,
    plan_call,
)

_ID_PREFIX: dict[Endpoint, str] = {"chat": "chatcmpl-", "embeddings": "embd-"}
_LONGEST_LABEL = 200


class Admission:
    """Opens and closes the account of each call, whatever becomes of it.

    `key`: the only bearer key that is let in; None lets everybody in. `clock` gives Unix seconds.
    """

    def __init__(
        self,
        *,
        key: str | None,
        behaviour: Behaviour,
        faults: FaultBook,
        log: CallLog,
        dice: Random,
        clock: Callable[[], float],
    ) -> None:
        self._key = key
        self._behaviour = behaviour
        self._faults = faults
        self._log = log
        self._dice = dice
        self._clock = clock

    def check_key(self, request: web.Request) -> None:
        """Raises ProviderError (401) unless the request bears the key, where one is required."""
        if self._key is None:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        known = hmac.compare_digest(given.strip().encode(), self._key.encode())
        if scheme.lower() != "bearer" or not known:
            raise ProviderError(401)

    @contextmanager
    def call(self, request: web.Request, endpoint: Endpoint) -> Iterator[CallRecord]:
        """The record of a call, closed with whatever ends the block.

        Cancellation is the client's doing if its connection is gone; else the server is draining.
        """
        record = self._record(request, endpoint)
        self._log.begin(record)
        try:
            self.check_key(request)
            yield record
        except ProviderError as error:
            self._log.end(record, Outcome.FAILED, str(error.status))
            raise
        except ConnectionError:
            self._log.end(record, Outcome.ABORTED)
            raise
        except asyncio.CancelledError:
            self._end_cancelled(request, record)
            raise
        except Exception:
            self._log.end(record, Outcome.FAILED, "internal")
            raise
        self._log.end(record, Outcome.COMPLETED)

    def plan(self, request: web.Request, record: CallRecord) -> CallPlan:
        """What the call will do. Raises ProviderError: its planned failure, or 400 for a header."""
        behaviour = self._behaviour
        fault = self._faults.take(record.endpoint, record.model or "")
        if fault is not None:
            behaviour = behaviour.overridden(fault)
        header = request.headers.get(HEADER)
        if header is not None:
            try:
                behaviour = behaviour.overridden(parse_header(header))
            except ValueError as error:
                raise bad_request(f"{HEADER}: {error}", HEADER) from error
        plan = plan_call(behaviour, max(record.tokens_planned, 1), self._dice)
        if isinstance(plan, Failure):
            raise ProviderError(plan.status, retry_after=plan.retry_after)
        return plan

    def broke_off(self, record: CallRecord, kind: str) -> None:
        """Close the account of a call that the simulator broke off."""
        self._log.end(record, Outcome.FAILED, kind)

    def _record(self, request: web.Request, endpoint: Endpoint) -> CallRecord:
        headers = request.headers
        retries = headers.get("x-stainless-retry-count", "")
        return CallRecord(
            id=_ID_PREFIX[endpoint] + secrets.token_hex(12),
            endpoint=endpoint,
            request_id=_label(headers.get("x-request-id")),
            job=_label(headers.get("x-tidegate-job")),
            retry_count=int(retries) if retries.isdecimal() else 0,
            started=self._clock(),
        )

    def _end_cancelled(self, request: web.Request, record: CallRecord) -> None:
        transport = request.transport
        if transport is None or transport.is_closing():
            self._log.end(record, Outcome.ABORTED)
        else:
            self._log.end(record, Outcome.FAILED, "drained")


def _label(value: str | None) -> str | None:
    return value[:_LONGEST_LABEL] if value else None
