"""The folder of an embedded store: the names in it, and what becomes of what is left over."""

import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import structlog

from tidegate.cache.stores.shards import FINISHED

_log = structlog.stdlib.get_logger(module=__name__)

Kind = Literal["head", "settled"]

_GONE: Final = ".gone"
# Whoever was killed over it may leave a groomer that still writes there, so no name is used twice.
_MAKING: Final = "making-"


class Folder:
    """`<directory>/<name>`, with a folder of the engine's for each part of the entries.

    Methods do I/O and raise OSError.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self.path = directory / name

    def make(self) -> None:
        """Makes it if it is missing; only its owner may look into it."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def tidy(self) -> None:
        """Removes what nobody needs: taken over by another part, or never finished."""
        for part in self.path.iterdir():
            if part.name.startswith(_MAKING) or part.name.endswith(_GONE):
                shutil.rmtree(part, ignore_errors=True)
        for name in self.parts():
            if name.startswith("settled-"):
                self._take_over(name)

    def _take_over(self, name: str) -> None:
        """Removes what a settled part was made of, or the part where it does not stand for it."""
        finished = self.path / name / FINISHED
        if not finished.exists():
            self.discard(name)
        elif sources := _sources_of(finished):
            for source in sources & set(self.parts()):
                self.discard(source)
        else:
            # What it was made of may be gone, so it is not thrown away.
            _log.error(
                "a part of the cache's store is not known to be whole and was set aside",
                part=name,
                now=str(self.set_aside(name)),
            )

    def parts(self) -> list[str]:
        """Names of the parts, the oldest first, heads last."""
        found = (part.name for part in self.path.iterdir() if part.is_dir())
        return sorted((name for name in found if _number(name)), key=_order)

    def next(self, kind: Kind) -> str:
        """A name for another part; no other was called so as long as one of them is there."""
        taken = [_number(part.name.removesuffix(_GONE)) for part in self.path.iterdir()]
        return f"{kind}-{max(taken, default=0) + 1:06}"

    def begin_making(self) -> Path:
        """A folder for the groomer to work in."""
        path = self.path / f"{_MAKING}{uuid.uuid4().hex}"
        path.mkdir()
        return path

    def settle(self, made: Path) -> str:
        """Makes a part of it, which counts for nothing until the keeper says so; its name."""
        return made.rename(self.path / self.next("settled")).name

    def discard(self, name: str) -> None:
        """Removes a part, so that half of it is never taken for one."""
        gone = (self.path / name).rename(self.path / f"{name}{_GONE}")
        shutil.rmtree(gone, ignore_errors=True)

    def set_aside(self, name: str) -> Path:
        """Moves a part out of the folder, for a person to look at; where it is now."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        aside = self._directory / f"{self._name}.{name}.set-aside-{now}"
        return (self.path / name).rename(aside)


def _sources_of(finished: Path) -> set[str]:
    """The parts that it names; none where it is torn, for a part is always made of some."""
    names = set(finished.read_bytes().decode("utf-8", "replace").split())
    return names if all(map(_number, names)) else set()


def _number(name: str) -> int:
    """The part's number, and 0 for what is none."""
    kind, _, number = name.partition("-")
    return int(number) if kind in {"head", "settled"} and number.isdecimal() else 0


def _order(name: str) -> tuple[bool, int]:
    return name.startswith("head-"), _number(name)
