"""Where the programs come from: a folder that is named, the cache, or a build into the cache."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from tests.bed import golang
from tests.bed.errors import Unavailable
from tests.bed.locks import locked
from tests.bed.places import MODULES, cache
from tests.bed.progress import Say
from tests.bed.versions import Program, in_order, key

NAMED_BY = "TIDEGATE_BED_BIN"
HINT = f"or name a folder that has it by {NAMED_BY}"


def binaries(names: Iterable[str], say: Say) -> Path:
    """The folder that holds all of these programs (see `versions`); what is missing is built.

    An interrupted build goes on with the program at which it was. Raises Unavailable in one line
    where neither a folder is named nor a build is possible.
    """
    wanted = in_order(names)
    named = os.environ.get(NAMED_BY)
    if named:
        return _checked(Path(named), wanted)
    folder = cache() / key(MODULES)
    if lacking(folder, wanted):
        _build(folder, wanted, say)
    return folder


def lacking(folder: Path, wanted: Iterable[Program]) -> list[Program]:
    """Which of the programs a folder does not have."""
    return [each for each in wanted if not os.access(folder / each.name, os.X_OK)]


def _checked(folder: Path, wanted: list[Program]) -> Path:
    missing = ", ".join(each.name for each in lacking(folder, wanted))
    if missing:
        raise Unavailable(f"{NAMED_BY}={folder} lacks {missing}: add it, or unset the variable")
    return folder.resolve()


def _build(folder: Path, wanted: list[Program], say: Say) -> None:
    with locked(folder.with_suffix(".lock"), lambda: say("waiting for another build to end")):
        missing = lacking(folder, wanted)  # the other build may have made them
        if missing:
            say(f"building {', '.join(each.name for each in missing)} (once; into {folder})")
        for number, program in enumerate(missing, 1):
            say(f"{program.name} {program.version} ({number} of {len(missing)})")
            began = time.monotonic()
            try:
                golang.build(program, folder, MODULES, say)
            except Unavailable as error:
                raise type(error)(f"{error}, {HINT}") from error
            say(f"  {program.name}: built in {time.monotonic() - began:.0f} s")
