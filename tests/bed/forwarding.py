"""Ports of loopback that kubectl forwards to Services of a cluster whose network is not ours."""

import re
import subprocess
from collections.abc import Mapping

from tests.bed.errors import CommandError


class Forwarding:
    """One kubectl for each port that was asked for, until `close`."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self._running: dict[tuple[str, str, int], tuple[subprocess.Popen[str], str]] = {}

    def address(self, namespace: str, service: str, port: int) -> str:
        """`ip:port`. A forward that ended, as its pod did, is made anew. Raises CommandError."""
        key = (namespace, service, port)
        if key in self._running:
            process, address = self._running[key]
            if process.poll() is None:
                return address
            self._end(process)
        self._running[key] = self._start(*key)
        return self._running[key][1]

    def close(self) -> None:
        """End them all."""
        for process, _ in self._running.values():
            self._end(process)
        self._running.clear()

    def _start(self, namespace: str, service: str, port: int) -> tuple[subprocess.Popen[str], str]:
        command = ["kubectl", "port-forward", "--namespace", namespace]
        command += ["--address", "127.0.0.1", f"service/{service}", f":{port}"]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=dict(self._env),
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.match(r"Forwarding from (\S+:\d+)", line)
        if found is None:
            self._end(process)
            raise CommandError(command, process.returncode, line)
        return process, found.group(1)

    @staticmethod
    def _end(process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()
