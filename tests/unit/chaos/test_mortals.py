"""A process that ended by itself must be told, though the next blow would have killed it anyway."""

from pathlib import Path

import pytest

from tests.chaos.mortals import revive, strike
from tests.chaos.plan import Blow, FaultPlan

KILL = FaultPlan(0.0, Blow.KILL, "worker-1", 0.0)
DEATH = "worker-1 ended by itself, with status -11: out of memory"
FREEZE = FaultPlan(0.0, Blow.FREEZE, "worker-1", 0.0)


class Sleeper:
    """Runs until it is killed, or ends; `fails` so often when it is started."""

    # Of nobody, so that no signal can hit anybody.
    pid = 2**30
    status = -11

    def __init__(self, directory: Path, *, fails: int = 0) -> None:
        self.log = directory / "log"
        self.log.write_text("out of memory", encoding="utf-8")
        self.ended = False
        self.fails = fails

    async def kill(self) -> None:
        self.ended = True

    async def start(self) -> None:
        self.fails -= 1
        self.ended = self.fails >= 0
        if self.ended:
            raise RuntimeError("it ended")


async def test_a_kill_is_no_death(tmp_path: Path) -> None:
    sleeper = Sleeper(tmp_path)
    assert await strike("worker-1", sleeper, KILL) == []
    assert not sleeper.ended


@pytest.mark.parametrize("fault", [KILL, FREEZE])
async def test_a_blow_does_not_hide_a_death(tmp_path: Path, fault: FaultPlan) -> None:
    sleeper = Sleeper(tmp_path)
    sleeper.ended = True
    assert await strike("worker-1", sleeper, fault) == [DEATH]
    assert not sleeper.ended


async def test_a_death_after_the_last_blow_is_told(tmp_path: Path) -> None:
    sleeper = Sleeper(tmp_path)
    assert await revive("worker-1", sleeper) == []
    sleeper.ended = True
    assert await revive("worker-1", sleeper) == [DEATH]


async def test_one_that_cannot_be_started_is_told_and_left(tmp_path: Path) -> None:
    told = await strike("worker-1", Sleeper(tmp_path, fails=99), KILL)
    assert told[-1] == "worker-1 cannot be started"
