"""Which beds there are: a folder and a record for each, and who may take a place.

A bed belongs to the process that made it, a test run, and goes with it; or to nobody, if a person
started it by `python -m tests.bed up`: then it stays until `down`. One whose owner has died is
cleaned away by the next who comes.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from tests.bed.cleaning import clean
from tests.bed.errors import Unavailable
from tests.bed.locks import locked
from tests.bed.places import state

_RECORD: Final = "bed.json"
_DEAD: Final = "ZX"  # states of a process


class Owner(msgspec.Struct, frozen=True):
    """A process, by its pid and when it started (clock ticks since the boot)."""

    pid: int
    started: int

    @classmethod
    def current(cls) -> "Owner":
        """This process."""
        return cls(os.getpid(), _started(os.getpid()) or 0)

    @property
    def lives(self) -> bool:
        """Whether it is still that process."""
        return _started(self.pid) == self.started


class Record(msgspec.Struct, frozen=True):
    """What is known of a bed: its kind (`node`, `control`), its slot among those, its owner."""

    kind: str
    slot: int
    owner: Owner | None

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.kind}-{self.slot}"


def claim(kind: str, slots: Iterable[int]) -> tuple[Path, int]:
    """A new folder and the slot it stands for, owned by this process.

    First it cleans what dead owners left. Raises Unavailable if all slots are taken.
    """
    with _lock():
        _sweep()
        for slot in slots:
            record = Record(kind, slot, Owner.current())
            folder = state() / record.name
            if not folder.exists():
                folder.mkdir(mode=0o700)
                _write(folder, record)
                return folder, slot
    raise Unavailable(f"no place for another bed ({kind}): end one by `python -m tests.bed down`")


def keep(folder: Path) -> None:
    """Let the bed outlive this process."""
    record = read(folder)
    assert record is not None
    _write(folder, msgspec.structs.replace(record, owner=None))


def release(folder: Path) -> None:
    """End the bed and remove its folder."""
    with _lock():
        _clean(folder)


def sweep() -> None:
    """Clean what dead owners left."""
    with _lock():
        _sweep()


def beds() -> list[tuple[Path, Record | None]]:
    """All folders, with their records; None where a maker died before it wrote one."""
    folders = sorted(path for path in state().iterdir() if path.is_dir())
    return [(folder, read(folder)) for folder in folders]


def kept(kind: str) -> Path | None:
    """The folder of the bed of this kind that a person started."""
    for folder, record in beds():
        if record is not None and record.kind == kind and record.owner is None:
            return folder
    return None


def read(folder: Path) -> Record | None:
    """The record in a folder; None if there is none that can be read."""
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((folder / _RECORD).read_bytes(), type=Record)
    return None


def _sweep() -> None:
    for folder, record in beds():
        if record is None or (record.owner is not None and not record.owner.lives):
            _clean(folder)


def _clean(folder: Path) -> None:
    kind, _, slot = folder.name.rpartition("-")
    clean(folder, int(slot) if kind == "node" and slot.isdigit() else None)


def _write(folder: Path, record: Record) -> None:
    new = folder / f"{_RECORD}.new"
    new.write_bytes(msgspec.json.encode(record))
    new.replace(folder / _RECORD)


@contextlib.contextmanager
def _lock() -> Iterator[None]:
    with locked(state() / "lock"):
        yield


def _started(pid: int) -> int | None:
    """When a process started; None if there is none, or if only its parent has not noticed."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        return None if fields[0] in _DEAD else int(fields[19])
    except (OSError, ValueError):
        return None
