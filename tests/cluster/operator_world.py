"""The operator as a process of its own, with the service account that ships, on a real API server.

    async with OperatorWorld(control_plane, namespace, tmp_path) as world:
        await world.pool("p", queue="chat", maxReplicas=4)
        await world.put_jobs("chat", 100)
        await world.until("p", lambda pool: pool["status"]["replicas"] == 4)

Pods run on pretended nodes (kwok). What workers would do is done here by hand: jobs are taken from
the real consumers and acknowledged (`take_jobs`), and what they would tell is told (`tell`).
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import aiohttp
import nats

from tests.bed.cluster import Cluster, CommandError
from tests.cluster.test_chart import rendered
from tests.support.nats_rights import login, server_with_rights
from tests.support.nats_server import NatsServer
from tests.support.ports import free_port
from tidegate.contracts.jobs import JobClass
from tidegate.contracts.load import WorkerLoad, encode_load
from tidegate.contracts.queue_consumers import gateways_change
from tidegate.contracts.subjects import (
    JOBS_STREAM,
    consumer_name,
    job_subject,
    load_subject,
    wake_subject,
)
from tidegate.eventlog.streams import StreamOptions, stream_configs

Object = dict[str, Any]
CRD: Final = "workerpools.tidegate.dev"
_OWN: Final = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
_PATIENCE: Final = 60.0
_POLL: Final = 0.1


class Operator:
    """One replica: a process, with its log in a file."""

    def __init__(self, environ: dict[str, str], log: Path, health: int) -> None:
        self._environ = environ
        self.log = log
        self.health = f"http://127.0.0.1:{health}"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tidegate.cli", "operator"),
                env=self._environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def send(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None
        async with asyncio.timeout(_PATIENCE):
            return await self._process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.running:
            self.send(signal.SIGCONT)
            self.send(number)
        return await self.ended()

    async def page(self, path: str) -> tuple[int, str]:
        """The status and the text of a health page; 0 while nobody answers."""
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self.health}{path}") as response,
            ):
                return response.status, await response.text()
        except aiohttp.ClientError:
            return 0, ""

    async def until_ready(self) -> None:
        async with asyncio.timeout(_PATIENCE):
            while (await self.page("/readyz"))[0] != 200:
                await asyncio.sleep(_POLL)

    @property
    def lines(self) -> list[Object]:
        """What it has logged."""
        texts = self.log.read_text("utf-8").splitlines()
        return [json.loads(text) for text in texts if text.startswith("{")]

    @property
    def leads(self) -> bool:
        return any(line["event"] == "leading" for line in self.lines)


class OperatorWorld:
    """`options` are for the chart, such as `--set=operator.clusterWide=true`."""

    def __init__(self, cluster: Cluster, namespace: str, directory: Path, *options: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.directory = directory
        self.nats: NatsServer = server_with_rights(directory)
        self.operators: list[Operator] = []
        self._options = options
        self.environ: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        await self.nats.start()
        self._client = await nats.connect(self.nats.url)
        await self.make_streams()
        await self._install()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for operator in self.operators:
            if operator.running:
                await operator.stop(signal.SIGKILL)
            if error is not None:
                sys.stderr.write(f"--- {operator.log.name}\n{operator.log.read_text()[-6000:]}\n")
        await self._client.close()
        await self.nats.stop()

    # The cluster.

    async def _install(self) -> None:
        """What the chart would: the CRD, and the operator's account with its rights."""
        objects = await rendered(self.cluster, self.namespace, *self._options)
        mine = [each for each in objects if _is_operators(each) or _is_workers(each)]
        await self.cluster.apply(
            [each for each in objects if each["kind"] == "CustomResourceDefinition"]
        )
        await self.cluster.wait_for(f"crd/{CRD}", "condition=Established")
        await self.cluster.apply(mine, self.namespace)
        deployment = next(each for each in mine if each["kind"] == "Deployment")
        await self.kubectl("delete", "deployment", deployment["metadata"]["name"])
        self.account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
        files = next(each["data"] for each in objects if "template.yaml" in each.get("data", {}))
        await self._write_account()
        self.environ = self._settings(deployment, files)

    async def _write_account(self) -> None:
        folder = self.directory / "account"
        folder.mkdir(exist_ok=True)
        authority = json.loads(await self.kubectl("get", "cm", "kube-root-ca.crt", "-o", "json"))
        for name, content in {
            "token": await self.kubectl("create", "token", self.account),
            "namespace": self.namespace,
            "ca.crt": authority["data"]["ca.crt"],
        }.items():
            (folder / name).write_text(content)

    def _settings(self, deployment: Object, files: dict[str, str]) -> dict[str, str]:
        for name, content in files.items():
            (self.directory / name).write_text(content)
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        chosen = {each["name"]: each["value"] for each in container["env"] if "value" in each}
        host, port = self.cluster.api_server
        given = {name: value for name, value in chosen.items() if "OPERATOR" in name}
        given["TIDEGATE_OPERATOR_TEMPLATE_FILE"] = str(self.directory / "template.yaml")
        # Tests make their own pools.
        given.pop("TIDEGATE_OPERATOR_DEFAULT_POOL_FILE", None)
        who = {
            f"TIDEGATE_{key.upper()}": value for key, value in login(self.nats, "operator").items()
        }
        return {
            "PATH": os.environ["PATH"],
            "KUBERNETES_SERVICE_HOST": host,
            "KUBERNETES_SERVICE_PORT": str(port),
            "SERVICE_ACCOUNT_DIRECTORY": str(self.directory / "account"),
            **given,
            **who,
        }

    async def operator(self, **settings: str) -> Operator:
        """One more replica, started."""
        health = free_port()
        number = len(self.operators) + 1
        environ = self.environ | {"TIDEGATE_HEALTH_LISTEN": f"127.0.0.1:{health}"} | settings
        operator = Operator(environ, self.directory / f"operator-{number}.log", health)
        self.operators.append(operator)
        await operator.start()
        return operator

    async def leader(self, **settings: str) -> Operator:
        """A replica that leads by now."""
        operator = await self.operator(**settings)
        await until(lambda: operator.leads or not operator.running, "nobody leads")
        assert operator.running, operator.log.read_text()
        return operator

    async def kubectl(self, *arguments: str, input: str | None = None) -> str:
        return await self.cluster.kubectl("--namespace", self.namespace, *arguments, input=input)

    async def pool(self, name: str, *, annotations: Object | None = None, **spec: Any) -> None:
        """Makes a pool, or makes it so."""
        body = {
            "apiVersion": "tidegate.dev/v1alpha1",
            "kind": "WorkerPool",
            "metadata": {"name": name, "annotations": annotations or {}},
            "spec": {"queue": name, **spec},
        }
        await self.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(body))

    async def get(self, kind: str, name: str) -> Object | None:
        try:
            found: Object = json.loads(await self.kubectl("get", kind, name, "-o", "json"))
        except CommandError as error:
            if "NotFound" in str(error):
                return None
            raise
        return found

    async def until(
        self, name: str, holds: Callable[[Object], object], *, within: float = _PATIENCE
    ) -> Object:
        """The pool, once this holds of it; what is not there yet is as if it did not."""
        end = time.monotonic() + within
        while True:
            found = await self.get("workerpool", name)
            if found is not None and _holds(holds, found):
                return found
            if time.monotonic() > end:
                raise AssertionError(
                    f"the pool stays {json.dumps(found, indent=1)}{self.last_words}"
                )
            await asyncio.sleep(_POLL)

    @property
    def last_words(self) -> str:
        """What the operators logged last, for who reads of a failure."""
        logs = (each.log.read_text("utf-8")[-3000:] for each in self.operators)
        return "".join(f"\n--- an operator's log\n{log}" for log in logs)

    async def replicas(self, name: str) -> int | None:
        """What the Deployment of a pool asks for."""
        found = await self.get("deployment", name)
        return None if found is None else int(found["spec"]["replicas"])

    async def events(self, name: str) -> list[Object]:
        """What was told of a pool, oldest first."""
        found = await self.cluster.events(self.namespace)
        about = ("WorkerPool", name)
        return [
            each
            for each in found
            if (each["involvedObject"]["kind"], each["involvedObject"]["name"]) == about
        ]

    # The queue.

    async def make_streams(self) -> None:
        """As a gateway makes them."""
        for config in stream_configs(StreamOptions()):
            payload = json.dumps(config).encode()
            await self._client.request(f"$JS.API.STREAM.CREATE.{config['name']}", payload)

    async def put_jobs(
        self, queue: str, count: int, *, job_class: JobClass = JobClass.INTERACTIVE
    ) -> None:
        """Puts jobs into a queue, and says so as a gateway does."""
        jetstream = self._client.jetstream()
        base = time.time_ns()
        for number in range(count):
            job = f"job_{_base32(base + number)}"
            await jetstream.publish(job_subject(queue, job_class.value, "default", job), b"{}")
            if number == 0:
                await self._client.publish(wake_subject(queue), b"")

    async def take_jobs(
        self, queue: str, count: int, *, job_class: JobClass = JobClass.INTERACTIVE
    ) -> list[Any]:
        """Takes jobs as a worker does, and returns their messages, to be acknowledged."""
        name = consumer_name(queue, job_class.value)
        bound = await self._client.jetstream().pull_subscribe_bind(name, JOBS_STREAM)
        return list(await bound.fetch(count, timeout=10))

    async def tell(self, queue: str, **told: Any) -> None:
        """What a worker would tell of itself."""
        said: dict[str, Any] = {
            "worker": "w1",
            "host": "nowhere",
            "slots": 8,
            "running": 0,
            "waiting": 0,
            "blocked": False,
            "draining": False,
            "ended": 0,
            "busy_seconds": 0.0,
            "output_tokens": 0,
            "nano_usd": 0,
            "priced": 0,
        }
        load = WorkerLoad(queue=queue, **(said | told))
        await self._client.publish(load_subject(queue, load.worker), encode_load(load))

    async def route(self, queue: str) -> None:
        """What a gateway does with the consumers of a queue that it routes to."""
        for job_class in JobClass:
            name = consumer_name(queue, job_class)
            found = await self._request(f"CONSUMER.INFO.{JOBS_STREAM}.{name}")
            config = gateways_change(queue, job_class, found.get("config"))
            if config is not None:
                asked = {"stream_name": JOBS_STREAM, "config": config}
                await self._request(f"CONSUMER.DURABLE.CREATE.{JOBS_STREAM}.{name}", asked)

    async def _request(self, subject: str, asked: Object | None = None) -> Object:
        payload = b"" if asked is None else json.dumps(asked).encode()
        answer = await self._client.request(f"$JS.API.{subject}", payload)
        found: Object = json.loads(answer.data)
        return found

    async def consumers(self) -> set[str]:
        """The names of the consumers that there are."""
        found = await self._client.jetstream().consumers_info(JOBS_STREAM)
        return {each.name for each in found}


async def until(holds: Callable[[], object], otherwise: str, within: float = _PATIENCE) -> None:
    """Returns once this holds."""
    end = time.monotonic() + within
    while not holds():
        assert time.monotonic() < end, otherwise
        await asyncio.sleep(_POLL)


def condition(pool: Object, kind: str) -> Object:
    """A condition of a pool; empty where it is not told yet."""
    told = pool.get("status", {}).get("conditions", [])
    return next((each for each in told if each["type"] == kind), {})


def _holds(holds: Callable[[Object], object], pool: Object) -> bool:
    try:
        return bool(holds(pool))
    except KeyError:
        return False


def _is_operators(each: Object) -> bool:
    component = each["metadata"].get("labels", {}).get("app.kubernetes.io/component")
    return component == "operator" and each["kind"] in {*_OWN, "ConfigMap", "Deployment"}


def _is_workers(each: Object) -> bool:
    """Without their account no pod of a pool is let in."""
    component = each["metadata"].get("labels", {}).get("app.kubernetes.io/component")
    return bool(component == "worker") and each["kind"] == "ServiceAccount"


def _base32(number: int) -> str:
    digits = "abcdefghijklmnopqrstuvwxyz234567"
    text = ""
    for _ in range(26):
        number, digit = divmod(number, 32)
        text += digits[digit]
    return text


def rules_of(objects: list[Object]) -> list[Object]:
    """The operator's rights, as they were rendered."""
    roles = [each for each in objects if each["kind"] in {"Role", "ClusterRole"}]
    return [rule for role in roles if _is_operators(role) for rule in role["rules"]]
