"""What a reader would lose if headers were read otherwise than the library reads them."""

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from tidegate.chassis.nats_client import NatsClient

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
