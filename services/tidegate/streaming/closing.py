"""How a socket ends: the close codes, declared once, each with words that say what to do next.

A code of 44xx is the HTTP status that a request would have got. RFC 6455 bounds a reason to 123
bytes of UTF-8.
"""

from typing import Final, NamedTuple

_LONGEST_REASON = 123


class Close(NamedTuple):
    """A close code and its reason."""

    code: int
    reason: str


UNAUTHENTICATED: Final = Close(4401, "the API key is not known any more")
TOKEN_OVER: Final = Close(4401, "the token has expired: reconnect with a new one and resume")
NO_HELLO: Final = Close(4408, "nothing was subscribed to or created in time")
TOO_MANY: Final = Close(4429, "this process has too many sockets: reconnect later")
RESTART: Final = Close(1012, "restarting: reconnect and resume with after_sequence")
TOO_SLOW: Final = Close(1013, "reading too slowly: reconnect and resume with after_sequence")


def bad_frame(why: str) -> Close:
    """4400, for a frame that is none of the protocol."""
    return Close(4400, why.encode()[:_LONGEST_REASON].decode(errors="ignore"))
