"""What cannot work, and where a person reads what to do about it."""

import json

import aiohttp
import pytest

from tests.bed.cluster import Cluster, CommandError
from tests.chaos.crowd import crowd_at
from tests.chaos.ledger import bearer
from tests.chaos.plan import Surface
from tests.e2e.installation import RELEASE, Installation
from tests.e2e.questions import complaints_of, plan

# Long enough for whatever would start to have started.
_GIVEN_UP: float = 20.0


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--set", "gatway.replicas=2"], "gatway"),
        (["--set", "gateway.replicas=two"], "replicas"),
        (["--set", "nats.mode=external"], "nats.external.url"),
        (["--set", "provider.existingSecret=openai"], "provider.models"),
    ],
)
async def test_values_that_cannot_work_are_refused_by_name(
    node: Cluster, node_namespace: str, image: str, options: list[str], says: str
) -> None:
    """Before anything is made."""
    tidegate = Installation(node, node_namespace, image)
    with pytest.raises(CommandError) as raised:
        await tidegate.install(*options)
    assert says in str(raised.value)
    assert await tidegate.objects() == []


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--set", "keys.existingSecret=forgotten"], ('secret "forgotten" not found',)),
        (
            ["--set", "nats.persistence.storageClass=fast"],
            ('storageclass.storage.k8s.io "fast" not found',),
        ),
        (["--set", "image.tag=typo,image.pullPolicy=Never"], ("typo", "is not present")),
    ],
    ids=["secret", "storage class", "image"],
)
async def test_kubernetes_says_what_is_missing(
    node: Cluster, node_namespace: str, image: str, options: list[str], words: tuple[str, ...]
) -> None:
    """In the events, where the troubleshooting table leads; it clears away all the same."""
    async with Installation(node, node_namespace, image) as tidegate:
        with pytest.raises(CommandError, match=r"not ready|deadline exceeded"):
            await tidegate.install(*options, within=_GIVEN_UP)
        await tidegate.until_warned(*words)


@pytest.mark.timeout(600)
async def test_a_wrong_nats_url_is_named_by_who_is_not_ready(
    node: Cluster, node_namespace: str, image: str
) -> None:
    external = "nats.mode=external,nats.external.url=nats://nowhere:4222"
    async with Installation(node, node_namespace, image) as tidegate:
        with pytest.raises(CommandError):
            await tidegate.install("--set", external, within=2 * _GIVEN_UP)
        said = await tidegate.kubectl("logs", f"deployment/{RELEASE}-gateway")
        assert '"condition": "nats", "holds": false' in said
        assert "nowhere" in said or "Name or service not known" in said


@pytest.mark.timeout(600)
async def test_a_wrong_providers_key_is_the_reason_that_jobs_are_given(
    node: Cluster, node_namespace: str, image: str
) -> None:
    """The simulator stands in for a provider that asks for a key."""
    async with Installation(node, node_namespace, image) as tidegate:
        await tidegate.kubectl(
            *("create", "secret", "generic", "provider", "--from-literal=api-key=wrong")
        )
        await tidegate.install(
            *("--set", "provider.existingSecret=provider,provider.models={sim-small}"),
            *("--set", f"provider.baseUrl=http://{RELEASE}-simulator:8090/v1"),
            *("--set", "simulator.enabled=true"),
            *("--set", "simulator.settings.TIDEGATE_SIMULATOR_API_KEY=right"),
        )
        doors = await tidegate.doors()
        body = {"model": "sim-small", "messages": [{"role": "user", "content": "Hello"}]}
        async with (
            aiohttp.ClientSession(headers=bearer(doors.key)) as session,
            session.post(f"http://{doors.http[0]}/v1/chat/completions", json=body) as answer,
        ):
            error = (await answer.json())["error"]
        assert answer.status >= 400
        assert "PROVIDER_CREDENTIALS" in json.dumps(error).upper()
        await tidegate.kubectl("delete", "secret", "provider")


@pytest.mark.timeout(600)
async def test_an_upgrade_that_cannot_start_harms_nobody_and_can_be_taken_back(
    node: Cluster, node_namespace: str, image: str
) -> None:
    """A Secret is misspelt: pods of before go on serving, with their routes."""
    async with Installation(node, node_namespace, image) as tidegate:
        await tidegate.install("--set", "simulator.enabled=true")
        with pytest.raises(CommandError):
            await tidegate.upgrade(
                *("--set", "provider.existingSecret=forgotten,provider.models={gpt-4o-mini}"),
                within=_GIVEN_UP,
            )
        async with crowd_at(await tidegate.doors()) as crowd:
            meanwhile = await crowd.ask([plan(1, Surface.SSE, "Who opens the gate?")])
        await tidegate.roll_back(1)
        async with crowd_at(await tidegate.doors()) as crowd:
            afterwards = await crowd.ask([plan(2, Surface.SSE, "Who shuts the gate?")])
        await tidegate.helm("test", RELEASE)
    assert complaints_of(meanwhile + afterwards) == []
    ends = [list(told.frames.values())[-1]["type"] for told in meanwhile + afterwards]
    assert ends == ["completed", "completed"]
