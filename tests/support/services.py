"""A single service as a process of its own, and the clients that tests speak to streaming with.

async with streaming_process(nats.url, tmp_path) as streaming:
    async with websocket(streaming) as socket:
        await send(socket, type="subscribe", job_id=job.id)
        frames = await until_end(socket, job.id)
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol, Self

import aiohttp
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.log_world import LogPeer
from tests.support.ports import free_port
from tests.support.processes import ROOT
from tidegate.contracts.events import TERMINAL_TYPES
from tidegate.contracts.jobs import QueuedJob

AUTHORIZATION = {"Authorization": "Bearer tidegate-dev"}
TENANT = "dev"
_PATIENCE = 30.0

Frame = dict[str, Any]


class ServiceProcess:
    """`tidegate <name>` with its own environment; its output is kept in `log`."""

    def __init__(self, name: str, directory: Path, health_port: int, **environ: str) -> None:
        self.log = directory / f"{name}-{health_port}.log"
        self.health_url = f"http://127.0.0.1:{health_port}"
        self._name = name
        self._environ = environ | {"TIDEGATE_HEALTH_LISTEN": f"127.0.0.1:{health_port}"}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def launch(self) -> None:
        """Start it, without waiting until it is ready."""
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", _SCRIPT, self._name),
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": f"{ROOT}/services:{ROOT}",
                    "TIDEGATE_DEVELOPMENT": "true",
                    **self._environ,
                },
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def until_ready(self, seconds: float = _PATIENCE) -> None:
        """Wait for /readyz. Raises RuntimeError with the log if the process ends before."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
            while not await self._is_ready(session):
                if self._process is None:
                    raise RuntimeError(f"{self._name} does not run")
                if (status := self._process.returncode) is not None:
                    said = self.log.read_text(encoding="utf-8")
                    raise RuntimeError(f"{self._name} ended with status {status}: {said}")
                await asyncio.sleep(0.02)

    async def readiness(self) -> Frame:
        """What /readyz says."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.health_url}/readyz") as answer,
        ):
            body: Frame = await answer.json()
            return body

    def complaints(self) -> list[str]:
        """What it logged as an error, and whatever Python printed by itself."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if '"level": "error"' in line or not line.startswith("{")]

    async def metrics(self) -> str:
        """What /metrics says."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.health_url}/metrics") as answer,
        ):
            return await answer.text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process and no other."""
        assert self._process is not None
        self._process.send_signal(number)

    async def wait(self) -> int:
        """The exit status, once it has ended."""
        assert self._process is not None
        async with asyncio.timeout(_PATIENCE):
            return await self._process.wait()

    async def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def __aenter__(self) -> Self:
        try:
            await self.launch()
            await self.until_ready()
        except BaseException:
            await self.kill()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.kill()

    async def _is_ready(self, session: aiohttp.ClientSession) -> bool:
        try:
            async with session.get(f"{self.health_url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


_SCRIPT = """
import sys
from importlib import import_module
sys.exit(import_module(f"tidegate.{sys.argv[1]}.app").run())
"""


class StreamingProcess(ServiceProcess):
    """The streaming service on free ports; `settings` are its own, without prefix, in any case."""

    def __init__(self, nats_url: str, directory: Path, **settings: object) -> None:
        self.websocket_port, self.sse_port = free_port(), free_port()
        # Nobody, unless a test says who: on the default a gateway of the developer's may listen.
        gateway = {"gateway_target": "127.0.0.1:9"}
        environ = {
            f"TIDEGATE_{name.upper()}": str(value) for name, value in (gateway | settings).items()
        }
        super().__init__(
            "streaming",
            directory,
            free_port(),
            TIDEGATE_NATS_URL=nats_url,
            TIDEGATE_WEBSOCKET_LISTEN=f"127.0.0.1:{self.websocket_port}",
            TIDEGATE_SSE_LISTEN=f"127.0.0.1:{self.sse_port}",
            **environ,
        )

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.websocket_port}/v1/ws"

    def sse_url(self, job_id: str) -> str:
        return f"http://127.0.0.1:{self.sse_port}/v1/jobs/{job_id}/events"


class MakeStreaming(Protocol):
    """The fixture `make_streaming`: starts a process that ends with the test."""

    async def __call__(self, **settings: object) -> StreamingProcess:
        """A ready process; `settings` as in `StreamingProcess`, and `nats_url`."""


@contextlib.asynccontextmanager
async def websocket(
    streaming: StreamingProcess, headers: dict[str, str] = AUTHORIZATION, **options: Any
) -> AsyncIterator[ClientConnection]:
    """A client's socket, as the `websockets` library makes it."""
    async with connect(
        streaming.websocket_url,
        subprotocols=["tidegate.v1"],  # type: ignore[list-item]
        additional_headers=headers,
        compression=None,
        max_size=None,
        **options,
    ) as socket:
        yield socket


async def send(socket: ClientConnection, **frame: object) -> None:
    """One frame of the client's."""
    await socket.send(msgspec.json.encode(frame).decode())


async def receive(socket: ClientConnection) -> Frame:
    """The next frame of the server's."""
    frame: Frame = msgspec.json.decode(await socket.recv())
    return frame


async def subscribe(socket: ClientConnection, job: QueuedJob, after: int = 0) -> None:
    """Ask for a job's events."""
    await send(socket, type="subscribe", job_id=job.id, after_sequence=after)


async def until_end(socket: ClientConnection, job_id: str) -> list[Frame]:
    """A job's event frames up to the terminal one; frames of other jobs are passed over."""
    frames = []
    while True:
        frame = await receive(socket)
        if frame.get("job_id") != job_id:
            continue
        frames.append(frame)
        if is_last(frame):
            return frames


async def close_of(socket: ClientConnection) -> tuple[int, str]:
    """How the server closes the socket; what it still sends is passed over."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code or 0, socket.close_reason or ""


def is_last(frame: Frame) -> bool:
    """Whether nothing follows for this subscription."""
    return frame["type"] in TERMINAL_TYPES or frame["type"] in {"ended", "error"}


async def stored_frames(world: LogPeer, job: QueuedJob, after: int = 0) -> list[Frame]:
    """What a client must get, made from the stored log alone."""
    return [
        {
            "job_id": job.id,
            "sequence": sequence,
            "at_ms": line.at_ms,
            **msgspec.json.decode(raw),
        }
        for line in await world.stored_lines(job)
        for sequence, raw in enumerate(line.events, line.first)
        if sequence > after
    ]


def text_in(frames: list[Frame]) -> str:
    """The text that a client shows."""
    return "".join(frame["data"] for frame in frames if frame["type"] == "delta")


class SseReader:
    """A job's stream over HTTP, read line by line as it came."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.lines: list[bytes] = []
        self.frames: list[Frame] = []

    async def read(self, enough: Callable[["SseReader"], object] = lambda _: False) -> list[Frame]:
        """Read until `enough`, or until the response ends."""
        last_id = None
        async for line in self.response.content:
            self.lines.append(line)
            if line.startswith(b"id: "):
                last_id = int(line[4:])
            elif line.startswith(b"data: "):
                frame = msgspec.json.decode(line[6:])
                assert frame["sequence"] == last_id
                self.frames.append(frame)
            if enough(self):
                break
        return self.frames


@contextlib.asynccontextmanager
async def sse(
    streaming: StreamingProcess, job_id: str, headers: dict[str, str] | None = None, query: str = ""
) -> AsyncIterator[SseReader]:
    """A client's SSE stream."""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=_PATIENCE)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.get(
            streaming.sse_url(job_id) + query, headers=AUTHORIZATION | (headers or {})
        ) as response,
    ):
        yield SseReader(response)
