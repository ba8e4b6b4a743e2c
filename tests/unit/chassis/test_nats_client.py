"""What a reader would lose if headers were read otherwise than the library reads them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from tidegate.chassis.nats_client import NatsClient, encode_publish

_NAMES = st.text("ABCDEFGHIJabcdefghij0123456789-", min_size=1, max_size=12)
_VALUES = st.text(
    st.characters(min_codepoint=33, exclude_categories=["Cs", "Zs", "Zl", "Zp", "Cc"]), max_size=12
)


@given(st.lists(st.tuples(_NAMES, st.sampled_from([": ", ":", ":\t"]), _VALUES), max_size=6))
def test_headers_are_what_the_library_makes_of_them(lines: list[tuple[str, str, str]]) -> None:
    raw = "".join(f"{name}{sep}{value}\r\n" for name, sep, value in lines).encode() + b"\r\n"
    assert NatsClient._parse_header_lines(raw) == Client._parse_header_lines(raw)


def test_a_republished_message_keeps_its_place() -> None:
    raw = b"Nats-Stream: EVENTS\r\nNats-Sequence: 7\r\nNats-Last-Sequence: 5\r\n\r\n"
    headers = NatsClient._parse_header_lines(raw)
    assert (headers["Nats-Sequence"], headers["Nats-Last-Sequence"]) == ("7", "5")


_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)


@given(st.binary(max_size=40), st.dictionaries(_NAMES, _TEXT.map(str.strip), max_size=4))
def test_what_is_published_is_encoded_as_by_the_library(
    payload: bytes, headers: dict[str, str]
) -> None:
    ours = encode_publish("some.subject", "inbox.1", payload, headers)
    assert ours == _encoded_by_the_library("some.subject", "inbox.1", payload, headers)


@pytest.mark.parametrize("value", ["a\r\nInjected: b", "a\nb", "a\rb"])
def test_a_header_value_with_a_line_break_is_left_to_the_library(value: str) -> None:
    assert encode_publish("some.subject", "", b"", {"Name": value}) is None


def _encoded_by_the_library(
    subject: str, reply: str, payload: bytes, headers: dict[str, str]
) -> bytes:
    client = Client()
    asyncio.run(client._send_publish(subject, reply, payload, len(payload), headers or None))
    return b"".join(client._pending)
