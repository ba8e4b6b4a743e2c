"""Structured logs on standard error, without a word of what people ask or models answer.

Three rules make that hold, whoever writes the line:

- a value is a number, a truth value or a short text; of anything else only the type is written;
- a traceback names exceptions and places; an exception's own text is written only for kinds whose
  text cannot quote data;
- of a library's message only its first line is written, from the level `warning` up.
"""

import asyncio
import logging
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger
from typing_extensions import override

from tidegate.chassis.settings import LogSettings
from tidegate.contracts.errors import TidegateError

_LONGEST_TEXT = 300
_MOST_FRAMES = 20
_SECRET_KEYS = frozenset(
    {
        *("answer", "body", "content", "messages", "payload", "prompt", "request", "text"),
        *("api_key", "authorization", "key", "password", "token"),
    }
)
_UNQUOTING = (
    TidegateError,
    OSError,
    ImportError,
    AttributeError,
    NameError,
    AssertionError,
    RecursionError,
    MemoryError,
)

_log = structlog.stdlib.get_logger(module=__name__)


def configure_logs(settings: LogSettings, *, service: str, stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (None: standard error), each line marked with `service`."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _mark(service),
        _traceback_without_data,
        _plain_values_only,
    ]
    structlog.configure(
        processors=[*processors, _renderer(settings)],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    _route_libraries(max(level, logging.WARNING))


@contextmanager
def log_context(*, job: str | None = None, trace: str | None = None) -> Iterator[None]:
    """Mark every line written inside with the job's id and the trace's."""
    marks = {name: value for name, value in (("job", job), ("trace", trace)) if value}
    with structlog.contextvars.bound_contextvars(**marks):
        yield


def log_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The event loop's exception handler: its own one writes the exception's text."""
    message = str(context.get("message", "error in the event loop")).splitlines()[0]
    _log.error(message, exc_info=context.get("exception"))


def describe_error(error: BaseException) -> str:
    """An exception in one line: its kind, and its text where that cannot quote data."""
    kind = type(error).__name__
    quotes_nothing = isinstance(error, _UNQUOTING) or type(error).__module__.startswith("nats.")
    text = str(error).splitlines()[0:1] if quotes_nothing else []
    return f"{kind}: {text[0][:_LONGEST_TEXT]}" if text else kind


def _renderer(settings: LogSettings) -> Processor:
    if settings.log_format == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())


def _mark(service: str) -> Processor:
    def mark(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return mark


def _traceback_without_data(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    elif isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        event["exception"] = "\n".join(_traceback_lines(error, set()))
    return event


def _traceback_lines(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    yield describe_error(error)
    yield from _frame_lines(error.__traceback__)
    for part in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _traceback_lines(part, seen)
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in seen:
        yield "caused by"
        yield from _traceback_lines(cause, seen)


def _frame_lines(trace: TracebackType | None) -> Iterator[str]:
    for frame in traceback.extract_tb(trace)[-_MOST_FRAMES:]:
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"


def _plain_values_only(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for name, value in event.items():
        if name.lower() in _SECRET_KEYS:
            event[name] = "<not logged>"
        elif isinstance(value, str):
            if name != "exception" and len(value) > _LONGEST_TEXT:
                event[name] = f"{value[:_LONGEST_TEXT]}…"
        elif not (value is None or isinstance(value, bool | int | float)):
            event[name] = f"<{type(value).__name__}>"
    return event


class _LibraryHandler(logging.Handler):
    """Hands the records of libraries to structlog."""

    @override
    def emit(self, record: logging.LogRecord) -> None:
        lines = record.getMessage().splitlines() or [""]
        log = structlog.stdlib.get_logger(module=record.name)
        log.log(record.levelno, lines[0], exc_info=record.exc_info)


def _route_libraries(level: int) -> None:
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler, _LibraryHandler):
            root.removeHandler(handler)
    root.addHandler(_LibraryHandler(level))
    root.setLevel(level)
    logging.captureWarnings(True)
