"""Commands that run a service in this process."""

import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from types import FrameType

import click


def service_command(
    name: str, package: str, help_text: str, *, require: Callable[[], None] | None = None
) -> click.Command:
    """The command `name`, which runs a package's service; `require` ends what cannot run."""

    def start() -> None:
        # The first process of a container has no default: until the service has a handler of its
        # own, a signal would go unheard, and the pod stay for its whole grace.
        signal.signal(signal.SIGTERM, _end_at_once)
        from tidegate.cli.known_settings import report_unknown_settings

        if require is not None:
            require()
        report_unknown_settings()
        run: Callable[[], int] = import_module(f"{package}.app").run
        sys.exit(run())

    return click.Command(name, callback=start, help=help_text, short_help=help_text)


def _end_at_once(number: int, frame: FrameType | None) -> None:
    del frame
    os._exit(128 + number)
