"""How often a leader renews its Lease: too seldom, and it ends although all is well."""

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tidegate.chassis.component import Deadline
from tidegate.chassis.health import Health
from tidegate.chassis.kubernetes_api import KubernetesApi
from tidegate.chassis.tasks import TaskGuard
from tidegate_operator.lease import Election, Pace
from tidegate_operator.settings import OperatorSettings

PATIENCE = 30.0


def test_what_ships_is_client_gos() -> None:
    pace = Pace.of(15)
    assert (pace.renewed, pace.retry) == (10.0, 2.0)


@pytest.mark.parametrize("seconds", [5, 6, 12, 15, 60, 300])
def test_every_lease_that_may_be_set_outlasts_a_try_without_an_answer(seconds: int) -> None:
    assert OperatorSettings.model_fields["operator_lease_seconds"].metadata[0].ge == 5
    pace = Pace.of(seconds)
    began = pace.pause(0.0)
    again = began + pace.patience + pace.pause(pace.patience)
    assert again + pace.patience < pace.renewed


class Api:
    """The API server with its Lease; a renewal that it is told to lose gets no answer."""

    namespace = "ns"

    def __init__(self) -> None:
        self.lease: dict[str, Any] | None = None
        self.lose = 0
        self.renewed = asyncio.Event()

    async def get(self, path: str) -> dict[str, Any] | None:
        return self.lease if path.endswith("/leases/operator") else None

    async def create(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.lease = body
        return body

    async def replace(self, _path: str, body: dict[str, Any]) -> dict[str, Any]:
        if self.lose:
            self.lose -= 1
            await asyncio.Event().wait()
        self.lease = body
        self.renewed.set()
        return body


async def elected(api: Api, guard: TaskGuard, seconds: int, owner: str | None = None) -> Election:
    leads = asyncio.Event()
    election = Election(
        cast(KubernetesApi, api),
        guard,
        Health(),
        lease="operator",
        owner=owner,
        identity="me",
        seconds=seconds,
        on_elected=lambda _: leads.set(),
    )
    await election.start()
    async with asyncio.timeout(PATIENCE):
        await leads.wait()
    return election


async def test_with_the_shortest_lease_one_renewal_may_be_lost() -> None:
    api, guard = Api(), TaskGuard()
    api.lose = 1
    election = await elected(api, guard, 5)
    renewed = asyncio.create_task(api.renewed.wait())
    lost = asyncio.create_task(guard.wait_fault())
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait({renewed, lost}, return_when=asyncio.FIRST_COMPLETED)
    assert guard.fault is None
    assert api.lose == 0
    assert election.term is not None
    assert election.term.lasts
    lost.cancel()
    await election.stop(Deadline(1.0))


@pytest.mark.parametrize("owner", ["missing", None])
async def test_a_lease_that_is_made_without_its_owner_is_told_of(owner: str | None) -> None:
    api = Api()
    with capture_logs() as logs:
        election = await elected(api, TaskGuard(), 15, owner)
        await election.stop(Deadline(1.0))
    warned = [line["config_map"] for line in logs if line["log_level"] == "warning"]
    assert warned == ([] if owner is None else [owner])
