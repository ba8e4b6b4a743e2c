"""Without these a prompt, an answer or a key could end up in a log collector for years."""

import asyncio
import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from tidegate.chassis.logs import configure_logs, describe_error, log_context, log_loop_error
from tidegate.chassis.settings import LogSettings
from tidegate.contracts.errors import NotFound

PROMPT = "my secret diary"
Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """The lines written so far."""
    stream = io.StringIO()
    root = logging.getLogger()
    level = root.level
    configure_logs(LogSettings(), service="worker", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers = [h for h in root.handlers if type(h).__name__ != "_LibraryHandler"]
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()


def test_a_line_says_who_when_and_for_which_job(lines: Lines) -> None:
    with log_context(job="j1", trace="t1"):
        structlog.stdlib.get_logger().info("attempt", number=2)
    structlog.stdlib.get_logger().info("idle")
    first, second = lines()
    assert first["service"] == "worker"
    assert (first["event"], first["number"], first["job"], first["trace"]) == (
        "attempt",
        2,
        "j1",
        "t1",
    )
    assert "timestamp" in first
    assert "job" not in second


@pytest.mark.parametrize(
    "values",
    [
        {"prompt": PROMPT},
        {"Authorization": PROMPT},
        {"what": {"content": PROMPT}},
        {"what": [PROMPT]},
        {"what": PROMPT.encode()},
        {"what": NotFound(PROMPT)},
    ],
)
def test_data_never_gets_into_a_line(lines: Lines, values: dict[str, Any]) -> None:
    structlog.stdlib.get_logger().info("event", **values)
    assert PROMPT not in json.dumps(lines())


def test_a_long_text_is_clipped(lines: Lines) -> None:
    structlog.stdlib.get_logger().info("event", what="x" * 10_000)
    assert len(json.dumps(lines())) < 1_000


def test_a_traceback_shows_places_and_kinds_but_no_quotes(lines: Lines) -> None:
    def fail() -> None:
        private = PROMPT
        try:
            int(private)
        except ValueError as error:
            raise RuntimeError(f"cannot read {private}") from error

    try:
        fail()
    except RuntimeError:
        structlog.stdlib.get_logger().exception("failed")
    (line,) = lines()
    assert PROMPT not in json.dumps(line)
    assert "RuntimeError" in line["exception"]
    assert "caused by\nValueError" in line["exception"]
    assert "in fail" in line["exception"]


def test_an_exception_group_shows_its_parts(lines: Lines) -> None:
    group = ExceptionGroup(PROMPT, [ValueError(PROMPT), OSError(5, "I/O error")])
    structlog.stdlib.get_logger().error("failed", exc_info=group)
    (line,) = lines()
    assert "OSError: [Errno 5] I/O error" in line["exception"]
    assert "ValueError" in line["exception"]
    assert PROMPT not in json.dumps(line)


def test_an_error_is_described_only_where_its_text_is_ours() -> None:
    assert describe_error(ConnectionRefusedError(111, "refused")).endswith("[Errno 111] refused")
    assert describe_error(NotFound("No such job.")) == "NotFound: No such job."
    assert describe_error(KeyError(PROMPT)) == "KeyError"


def test_libraries_are_heard_from_warning_up_and_in_one_line(lines: Lines) -> None:
    logging.getLogger("openai").info("request %s", PROMPT)
    logging.getLogger("nats").warning("slow\n%s", PROMPT)
    (line,) = lines()
    assert (line["module"], line["level"], line["event"]) == ("nats", "warning", "slow")


async def test_a_forgotten_task_does_not_tell_its_error(lines: Lines) -> None:
    error = ValueError(PROMPT)
    task = f"Task exception was never retrieved\nfuture: <Task exception={error!r}>"
    log_loop_error(asyncio.get_running_loop(), {"message": task, "exception": error})
    (line,) = lines()
    assert line["event"] == "Task exception was never retrieved"
    assert PROMPT not in json.dumps(line)


def test_configuring_twice_writes_once(lines: Lines) -> None:
    stream = io.StringIO()
    configure_logs(LogSettings(log_level="error"), service="x", stream=stream)
    logging.getLogger("nats").warning("quiet")
    logging.getLogger("nats").error("loud")
    assert len(stream.getvalue().splitlines()) == 1
    assert lines() == []


def test_the_console_form_is_for_eyes(lines: Lines) -> None:
    stream = io.StringIO()
    configure_logs(LogSettings(log_format="console"), service="x", stream=stream)
    structlog.stdlib.get_logger().info("hello", prompt=PROMPT)
    assert "hello" in stream.getvalue()
    assert PROMPT not in stream.getvalue()
    assert lines() == []
