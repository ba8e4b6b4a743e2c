"""Wires: proxies before everything; connections break at a byte, all at once, or cannot begin."""

import asyncio
import contextlib
from collections.abc import Iterator

from tests.chaos.plan import Blow, FaultPlan
from tests.support.tcp_proxy import Broken, Filter, TcpProxy, Way


class _CutAfter:
    """Breaks its connection after so many bytes of its way."""

    def __init__(self, size: int) -> None:
        self._left = size

    def feed(self, data: bytes) -> bytes:
        if len(data) >= self._left:
            raise Broken(data[: self._left])
        self._left -= len(data)
        return data


class Line:
    """Proxies that are struck together: one for each port behind the wire."""

    def __init__(self, *targets: int) -> None:
        self._size = 0
        self.targets = targets
        self.proxies = [TcpProxy(target, filters=self._filter) for target in targets]

    @property
    def ports(self) -> list[int]:
        """What to connect to, in the order of the targets."""
        return [proxy.port for proxy in self.proxies]

    async def strike(self, fault: FaultPlan) -> None:
        """Does it, and returns when it is over."""
        if fault.blow is Blow.CUT:
            for proxy in self.proxies:
                proxy.cut()
        elif fault.blow is Blow.TRIM:
            with self._trimming(fault.size):
                # Those that are open would never meet it.
                for proxy in self.proxies:
                    proxy.cut()
                await asyncio.sleep(fault.seconds)
        elif fault.blow is Blow.REFUSE:
            for proxy in self.proxies:
                proxy.refusing = True
                proxy.cut()
            await asyncio.sleep(fault.seconds)
            for proxy in self.proxies:
                proxy.refusing = False

    def _filter(self, way: Way) -> Filter | None:
        del way
        return _CutAfter(self._size) if self._size else None

    @contextlib.contextmanager
    def _trimming(self, size: int) -> Iterator[None]:
        self._size = size
        try:
            yield
        finally:
            self._size = 0
