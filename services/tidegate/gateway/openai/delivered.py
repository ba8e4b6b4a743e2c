"""What a client was sent already, compared with what a later attempt says. No I/O.

A stream cannot take words back. When an attempt begins anew, its answer is held against what was
sent: as long as they agree, only what goes beyond it is sent; where they differ, there is no
honest way to go on.
"""

from typing import Any


class DivergedError(Exception):
    """A later attempt says something else than what was sent."""


class Words:
    """One text that grows, such as the answer or a tool call's arguments."""

    __slots__ = ("_at", "_parts", "_sent")

    def __init__(self) -> None:
        self._parts: list[str] = []
        # While an attempt repeats what was sent: that, and the place it has come to.
        self._sent = ""
        self._at = 0

    @property
    def behind(self) -> bool:
        """Whether the current attempt has not repeated yet all that was sent."""
        return self._at < len(self._sent)

    def again(self) -> None:
        """A new attempt begins from the beginning."""
        self._sent = "".join(self._parts)
        self._parts = [self._sent]
        self._at = 0

    def take(self, piece: str) -> str:
        """What of the attempt's next piece is to be sent.

        Raises:
            DivergedError: something else was sent in its place.
        """
        if self._at < len(self._sent):
            known = self._sent[self._at : self._at + len(piece)]
            if not piece.startswith(known):
                raise DivergedError
            self._at += len(known)
            piece = piece[len(known) :]
        if piece:
            self._parts.append(piece)
        return piece


class Tokens:
    """One list of log probabilities; they agree where the tokens do."""

    def __init__(self) -> None:
        self._tokens: list[Any] = []
        self._sent = 0
        self._at = 0

    @property
    def behind(self) -> bool:
        """Whether the current attempt has not repeated yet all that was sent."""
        return self._at < self._sent

    def again(self) -> None:
        """A new attempt begins from the beginning."""
        self._sent, self._at = len(self._tokens), 0

    def take(self, items: list[Any]) -> list[Any]:
        """What of the attempt's next items is to be sent.

        Raises:
            DivergedError: something else was sent in their place.
        """
        tokens = [item.get("token") if isinstance(item, dict) else item for item in items]
        known = self._tokens[self._at : self._sent][: len(tokens)]
        if tokens[: len(known)] != known:
            raise DivergedError
        self._at += len(known)
        self._tokens += tokens[len(known) :]
        return items[len(known) :]
