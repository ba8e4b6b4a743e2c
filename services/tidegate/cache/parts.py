"""What the parts of a cache share."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from tidegate.cache.entries import Store
from tidegate.cache.honesty_book import HonestyBook
from tidegate.cache.metrics import CacheMetrics
from tidegate.cache.questions import Questions
from tidegate.chassis.component import Component


class StoreComponent(Store, Component, Protocol):
    """A store with a beginning and an end."""


@dataclass(frozen=True, slots=True)
class Parts:
    """`clock` gives seconds of the epoch, `draw` a random number from 0 to below 1."""

    store: StoreComponent
    questions: Questions
    honesty: HonestyBook
    metrics: CacheMetrics
    clock: Callable[[], float]
    draw: Callable[[], float]

    def now_ms(self) -> int:
        """The time by which entries are stored and expire."""
        return int(self.clock() * 1000)
