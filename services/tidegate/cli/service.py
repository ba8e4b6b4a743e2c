"""Commands that run a service in this process."""

import sys
from collections.abc import Callable
from importlib import import_module

import click


def service_command(
    name: str, package: str, help_text: str, *, require: Callable[[], None] | None = None
) -> click.Command:
    """The command `name`, which runs a package's service; `require` ends what cannot run."""

    def start() -> None:
        from tidegate.cli.known_settings import report_unknown_settings

        if require is not None:
            require()
        report_unknown_settings()
        run: Callable[[], int] = import_module(f"{package}.app").run
        sys.exit(run())

    return click.Command(name, callback=start, help=help_text, short_help=help_text)
