"""HTTP/1.1 as the bare clients of benches speak it: a POST as bytes, a stream read afterwards."""

from typing import Final

import msgspec

HOST: Final = "127.0.0.1"


def post(path: str, port: int, key: str, content: bytes) -> bytes:
    """A request with a JSON body, as it goes over the wire of a kept connection."""
    return (
        b"POST %b HTTP/1.1\r\nHost: %b:%d\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\nAccept: */*\r\nContent-Length: %d\r\n\r\n%b"
    ) % (path.encode(), HOST.encode(), port, key.encode(), len(content), content)


def dechunked(body: bytes) -> bytes:
    """A body without HTTP's chunks (RFC 9112, 7.1); what is cut off is left out."""
    pieces, at = [], 0
    while (end := body.find(b"\r\n", at)) > 0 and (size := int(body[at:end], 16)):
        pieces.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size
    return b"".join(pieces)


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_decode = msgspec.json.Decoder(_Chunk).decode


def deltas(events: bytes) -> tuple[list[str], bool]:
    """The texts of a completion's events; whether it had a finish reason and said that it is done.

    An event that is cut off is left out.
    """
    *whole, _ = events.split(b"\n\n")
    datas = [event.removeprefix(b"data: ") for event in whole]
    choices = [each for data in datas if data.startswith(b"{") for each in _decode(data).choices]
    finished = any(choice.finish_reason is not None for choice in choices)
    texts = [text for choice in choices if (text := choice.delta.content)]
    return texts, finished and b"[DONE]" in datas
