"""The composition root of the operator."""

import asyncio
import logging
import socket
import time
from typing import Final

from tidegate.chassis.kubernetes_api import KubernetesApi
from tidegate.chassis.lifecycle import Lifecycle, run_process
from tidegate.chassis.logs import configure_logs
from tidegate.chassis.process import make_base
from tidegate.chassis.settings import PodSettings, SettingsError, load_settings
from tidegate_operator.default_pool import DefaultPools, load_object, load_pools
from tidegate_operator.fleet import Fleet
from tidegate_operator.hearing import Hearing
from tidegate_operator.lease import Election
from tidegate_operator.metrics import OperatorMetrics
from tidegate_operator.parts import KeeperParts
from tidegate_operator.registry import Key, Registry
from tidegate_operator.settings import OperatorSettings
from tidegate_operator.watching import Watch
from tidegate_operator.workers import Workers
from tidegate_operator.writes import Writer

# Pools that are looked at beside each other.
_AT_ONCE: Final = 32


def run() -> int:
    """Keep pools in a process of its own until a signal; the exit status."""
    return run_process(lambda: main(load_settings(OperatorSettings)))


async def main(settings: OperatorSettings) -> None:
    """Keep pools until a signal. Raises ServiceFault, and SettingsError before it starts."""
    configure_logs(settings, service="operator")
    # It warns that signals are ours, which is so on purpose.
    logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
    await make_operator(settings).run()


def make_operator(settings: OperatorSettings, pod: PodSettings | None = None) -> Lifecycle:
    """The whole operator, to be called on the event loop that will run it.

    `pod`: None reads what the kubelet gives every pod.

    Raises:
        SettingsError: a file, the service account or tracing cannot be as the settings say.
    """
    pod = pod or load_settings(PodSettings)
    base = make_base("operator", nats=settings, tracing=settings, pages=settings, drain=settings)
    metrics = OperatorMetrics(base.registry)
    api = KubernetesApi(pod, lambda method, status: metrics.calls.labels(method, status).inc())
    own, identity = _own_namespace(pod), socket.gethostname()

    def changed(key: Key) -> None:
        fleet.changed(key)

    registry = Registry(changed, own)
    writer = Writer(api, lambda: election.term, identity=identity)
    workers = Workers(time.monotonic)
    parts = KeeperParts(
        api=api,
        jetstream=base.jetstream,
        registry=registry,
        workers=workers,
        writer=writer,
        metrics=metrics,
        template=load_object(settings.operator_template_file, "TIDEGATE_OPERATOR_TEMPLATE_FILE"),
        operator=f"{own}/{settings.operator_name}",
        look_seconds=settings.operator_look_seconds,
        places=asyncio.Semaphore(_AT_ONCE),
        clock=time.monotonic,
    )
    namespaces = settings.namespaces(own)
    watch = Watch(api, pod, registry, base.guard, health=base.health, namespaces=namespaces)
    fleet = Fleet(parts, watch, base.guard, default=_default_pools(settings, api, writer))
    election = Election(
        api,
        base.guard,
        base.health,
        lease=settings.operator_name,
        owner=settings.operator_owner,
        identity=identity,
        seconds=settings.operator_lease_seconds,
        on_elected=lambda _: fleet.begin(),
    )
    base.health.watch(lambda: fleet.stuck)
    base.health.watch(lambda: election.stuck)
    # Without NATS pools are held, and say so: it is not waited for.
    return base.compose(Hearing(base.nats, workers, fleet), before_nats=[api, fleet, election])


def _own_namespace(pod: PodSettings) -> str:
    try:
        return pod.read("namespace")
    except OSError as error:
        raise SettingsError(
            f"{error.filename}: {error.strerror}: the operator runs in a pod whose service "
            "account's token is mounted"
        ) from error


def _default_pools(
    settings: OperatorSettings, api: KubernetesApi, writer: Writer
) -> DefaultPools | None:
    path = settings.operator_default_pool_file
    if path is None:
        return None
    pools = load_pools(path, "TIDEGATE_OPERATOR_DEFAULT_POOL_FILE")
    return DefaultPools(api, pools, settings.operator_owner, lambda: writer.leads)
