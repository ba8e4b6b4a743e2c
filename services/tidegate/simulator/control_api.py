"""The control API for tests: `/stats` tells what happened, `/faults` says what is to happen.

It asks for no key, as the metrics page does: whoever can reach the port may use it.
"""

import asyncio
import math
from typing import Any

import msgspec
from aiohttp import web

from tidegate.simulator.calls import CallLog, Outcome
from tidegate.simulator.errors import bad_request
from tidegate.simulator.faults import Fault, FaultBook

_LONGEST_WAIT = 60.0


class ControlApi:
    """The handlers of the control API."""

    def __init__(self, log: CallLog, faults: FaultBook) -> None:
        self._log = log
        self._faults = faults

    async def stats(self, request: web.Request) -> web.Response:
        """Totals and single calls.

        Query: `request_id` and `job` choose the calls to show, `limit` how many of the newest
        (100); `idle_within` (seconds, at most 60) waits so long at most until no call runs.
        """
        query = request.query
        limit = int(_number(query.get("limit", "100"), "limit"))
        if "idle_within" in query:
            await self._wait_idle(_number(query["idle_within"], "idle_within"))
        calls = self._log.calls(request_id=query.get("request_id"), job=query.get("job"))
        return _json(totals(self._log) | {"calls": calls[len(calls) - min(limit, len(calls)) :]})

    async def reset_stats(self, _: web.Request) -> web.Response:
        """Count anew."""
        self._log.reset()
        return web.Response(status=204)

    async def add_fault(self, request: web.Request) -> web.Response:
        """Let the fault in the body hold, and show all that do."""
        try:
            self._faults.add(msgspec.json.decode(await request.read(), type=Fault))
        except ValueError as error:
            raise bad_request(str(error)) from error
        return await self.list_faults(request)

    async def list_faults(self, _: web.Request) -> web.Response:
        """The faults that hold, oldest first, with the calls each has left."""
        return _json({"faults": [_without_unset(fault) for fault in self._faults.active()]})

    async def clear_faults(self, _: web.Request) -> web.Response:
        """Forget all faults."""
        self._faults.clear()
        return web.Response(status=204)

    async def _wait_idle(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(min(seconds, _LONGEST_WAIT)):
                await self._log.wait_idle()
        except TimeoutError:
            # The caller sees by `running` that it is not idle.
            return


def totals(log: CallLog) -> dict[str, Any]:
    """The running totals as JSON-able values; lateness in milliseconds."""
    late = log.lateness
    ended = {
        outcome.value: sum(n for (_, how), n in log.outcomes.items() if how is outcome)
        for outcome in Outcome
        if outcome is not Outcome.RUNNING
    }
    return {
        "started": sum(log.started.values()),
        "started_by_endpoint": dict(log.started),
        **ended,
        "failed_by_kind": dict(log.failures),
        "stalled": log.stalls,
        "tokens_sent": log.tokens_sent,
        "running": log.running,
        "most_running": log.most_running,
        "lateness_ms": {
            name: round(late.percentile(share) * 1000, 2)
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        },
    }


def _without_unset(fault: Fault) -> dict[str, Any]:
    return {
        name: value for name, value in msgspec.structs.asdict(fault).items() if value is not None
    }


def _number(text: str, name: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise bad_request(f"{name} is a number, 0 or more", name)
    return number


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
